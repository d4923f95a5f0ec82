// A node's links as the client room uses them, and those to what this process computes itself: one
// per server, messages sorted by session. Knows no directory; client.ts finds servers.
import { toHex } from '../base/bytes.ts'
import { disconnected } from '../base/errors.ts'
import type { SwarmNode } from '../swarm/node.ts'
import type { NamedModel } from '../swarm/private/capability.ts'
import type { ClientLink, Connections, SessionEvents } from './route/links.ts'
import type { LocalServers } from './route/local-servers.ts'

export interface SwarmConnections extends Connections, Disposable {}

export interface ConnectionsOptions {
  /** In a private swarm only servers whose invites permit them to serve it are used. */
  serves?: NamedModel | undefined
  /** What this process computes itself. */
  here?: LocalServers | undefined
}

/** Sessions hear of what arrives over the node's links until the result is disposed of. */
export function swarmConnections(
  node: SwarmNode,
  { serves, here }: ConnectionsOptions = {}
): SwarmConnections {
  const sessions = new Map<string, SessionEvents>()
  const of = (session: Uint8Array): SessionEvents | undefined => sessions.get(toHex(session))
  const stop = node.handle({
    onopened: (link, message) => of(message.session)?.onopened(link, message),
    onresult: (link, message) => of(message.session)?.onresult(link, message),
    onerror: (link, message) => of(message.session)?.onerror(link, message),
    onclosed: (link, error) => {
      const why = error.code === 'TIMEOUT' ? error : disconnected('The server went away')
      for (const events of sessions.values()) events.ondisconnect(link, why)
    }
  })
  return {
    async connect(peer, signal, timeoutMs): Promise<ClientLink> {
      const own = here?.connect(peer)
      if (own) return own
      const key = new Uint8Array(Buffer.from(peer, 'hex'))
      return node.connect(key, { signal, timeoutMs, serves })
    },
    listen(session, events) {
      const key = toHex(session)
      sessions.set(key, events)
      const stopHere = here?.listen(session, events)
      return () => {
        sessions.delete(key)
        stopHere?.()
      }
    },
    [Symbol.dispose]: stop
  }
}
