// Links of the client room to a block server in the same process: messages are passed on without
// encoding. Knows no weights; local-blocks.ts creates the server.
import { toHex } from '../base/bytes.ts'
import { toAppError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { ClientLink, SessionEvents } from '../client/route/links.ts'
import type { ServerLink } from '../server/links.ts'
import type { BlockServer } from '../server/sessions/block-server.ts'
import type { ServerInfo, StepResult } from '../wire/types.ts'

export interface LoopbackOptions {
  server: BlockServer
  /** Keys of the server. Each may stand for it once in a route. */
  keys: readonly Uint8Array[]
  /** Its current description under one of its keys. */
  infoOf: (key: Uint8Array) => ServerInfo
  /** Receiver of a session's messages. */
  listener: (session: Uint8Array) => SessionEvents | undefined
  /** Called with each answer. */
  onresult: (message: StepResult) => void
  log: Log
}

export interface Loopback {
  readonly links: readonly ClientLink[]
  /** From now on no link can be used. */
  close(): void
}

export function openLoopback(options: LoopbackOptions): Loopback {
  let closed = false
  const links = options.keys.map((key, index) => linkOf(key, index, options, () => closed))
  return { links, close: () => void (closed = true) }
}

function linkOf(
  key: Uint8Array,
  index: number,
  { server, infoOf, listener, onresult, log }: LoopbackOptions,
  isClosed: () => boolean
): ClientLink {
  const peer = toHex(key)
  // Calls nobody back before its own call has returned, as over a network.
  const later = (act: () => void): void =>
    queueMicrotask(() => {
      if (!isClosed()) act()
    })
  const tell = <M extends { session: Uint8Array }>(
    message: M,
    deliver: (events: SessionEvents, message: M) => void
  ): void => {
    const own = { ...message, session: aliased(message.session, index) }
    later(() => {
      const events = listener(own.session)
      if (events) deliver(events, own)
    })
  }
  const owner: ServerLink = {
    peer,
    opened: (message) => tell(message, (events, own) => events.onopened(link, own)),
    result(message) {
      onresult(message)
      tell(message, (events, own) => events.onresult(link, own))
    },
    error: (message) => tell(message, (events, own) => events.onerror(link, own)),
    step() {},
    adaptersOf: (session) => listener(aliased(session, index))?.adapters
  }
  /** The message with the id that the session has at the server under this key. */
  const of = <M extends { session: Uint8Array }>(message: M): M => {
    return { ...message, session: aliased(message.session, index) }
  }
  const link: ClientLink = {
    peer,
    key,
    isLocal: true,
    get closed() {
      return isClosed()
    },
    get servers() {
      return [infoOf(key)]
    },
    open: (message) => later(() => void server.open(owner, of(message))),
    step(message) {
      const { tensor } = message
      // The history may overwrite its rows before the step runs, so they are copied.
      const own = of({ ...message, tensor: { ...tensor, data: tensor.data.slice() } })
      later(() => void server.step(owner, own))
    },
    cancel: (message) => later(() => server.cancel(owner, of(message))),
    keep: (message) => later(() => server.keep(owner, of(message))),
    closeSession: (message) =>
      later(() => {
        server.closeSession(owner, of(message)).catch((error: unknown) => {
          log.debug(`a session was not closed: ${toAppError(error).message}`)
        })
      }),
    ping: async () => 0,
    awaited: () => () => {}
  }
  return link
}

/** A different id for each index; applied twice it gives the first one again. */
function aliased(session: Uint8Array, index: number): Uint8Array {
  const alias = new Uint8Array(session)
  alias[0] = (alias[0] ?? 0) ^ index
  return alias
}
