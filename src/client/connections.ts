// The swarm's links as the client room uses them: one per server, messages sorted by session.
// Knows no directory; client.ts finds servers.
import { toHex } from '../base/bytes.ts'
import type { NamedModel } from '../swarm/private/capability.ts'
import type { SwarmNode } from '../swarm/node.ts'
import type { LinkHandlers } from '../wire/link.ts'
import type { ClientLink, Connections, SessionEvents } from './route/links.ts'

export interface SwarmConnections extends Connections {
  /** For the SwarmNode's links, before it is made. */
  readonly handlers: LinkHandlers
  /**
   * Must be called once, before connect(). In a private swarm only servers whose invites permit them to
   * serve `model` are used.
   */
  use(node: SwarmNode, model?: NamedModel): void
}

export function swarmConnections(): SwarmConnections {
  const sessions = new Map<string, SessionEvents>()
  let node: SwarmNode | undefined
  let serves: NamedModel | undefined
  const of = (session: Uint8Array): SessionEvents | undefined => sessions.get(toHex(session))
  return {
    handlers: {
      onopened: (link, message) => of(message.session)?.onopened(link, message),
      onresult: (link, message) => of(message.session)?.onresult(link, message),
      onerror: (link, message) => of(message.session)?.onerror(link, message),
      onclosed: (link) => {
        for (const events of sessions.values()) events.ondisconnect(link)
      }
    },
    use(made, model) {
      node = made
      serves = model
    },
    async connect(peer, signal, timeoutMs): Promise<ClientLink> {
      if (!node) throw new TypeError('connect() was called before use()')
      const key = new Uint8Array(Buffer.from(peer, 'hex'))
      return node.connect(key, { signal, timeoutMs, serves })
    },
    listen(session, events) {
      const key = toHex(session)
      sessions.set(key, events)
      return () => void sessions.delete(key)
    }
  }
}
