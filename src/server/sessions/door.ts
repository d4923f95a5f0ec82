// What comes in over a host's links: each message goes to the block server of the moment, past the
// gate of a private swarm; while there is none, its sender is told so. Called by the links. Knows
// no engine.
import { AppError, toAppError } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { LinkHandlers } from '../../wire/link.ts'
import { fromWire, IDLE, toWire } from '../../wire/peer-error.ts'
import type { ServerStatus } from '../../wire/types.ts'
import type { BlockServer } from './block-server.ts'
import type { ServerLink } from '../links.ts'
import type { MemberGate } from './member-gate.ts'

export interface DoorOptions {
  /** Undefined while blocks are loaded. */
  server: () => BlockServer | undefined
  /** In a private swarm. */
  gate: () => MemberGate | undefined
  /** Told when a peer's link ends, and when a peer says that it serves nothing any more. */
  ongone: (peer: string) => void
  log: Log
}

/** Loading takes about a minute. */
const AWAY_MS = 60_000

/** Why nothing can be asked of a server that loads. */
export function notServing(): AppError {
  return new AppError('BUSY', 'The server serves no blocks now: it loads others', {
    retryAfterMs: AWAY_MS
  })
}

export function openDoor(options: DoorOptions): LinkHandlers {
  const { server, gate, ongone, log } = options
  const status = (): ServerStatus => server()?.status() ?? IDLE
  const refuse = (link: ServerLink, session: Uint8Array, step: number, error: AppError): void => {
    link.error(toWire(error, { session, step, status: status() }))
  }
  /** Whether the gate lets it pass; else the peer is told why not. */
  const permits = (
    ask: () => void,
    to: { link: ServerLink; session: Uint8Array; step: number }
  ): boolean => {
    try {
      ask()
      return true
    } catch (error) {
      refuse(to.link, to.session, to.step, toAppError(error))
      return false
    }
  }
  /** What goes wrong behind a frame has nobody who waits for it. */
  const guard = (work: Promise<void> | undefined): void => {
    work?.catch((error: unknown) => log.warn(toAppError(error).message))
  }
  return {
    onopen: (link, message) => {
      const { session } = message
      if (!permits(() => gate()?.open(link, message), { link, session, step: -1 })) return
      const now = server()
      if (now) void now.open(link, message)
      else refuse(link, session, -1, notServing())
    },
    onstep: (link, message) => {
      // Its owner would take an error for the end of the step: a stranger to it gets no answer.
      const guarded = gate()
      if (guarded && !guarded.mayBring(link, message)) return
      const { session, step } = message
      const now = server()
      const owner = now?.sessions.get(session)?.owner ?? link
      if (!permits(() => guarded?.step(message), { link: owner, session, step })) return
      if (now) return now.step(link, message)
      refuse(link, session, step, notServing())
    },
    oncancel: (link, message) => server()?.cancel(link, message),
    onkeep: (link, message) => server()?.keep(link, message),
    onclosesession: (link, message) => guard(server()?.closeSession(link, message)),
    onerror: (_link, message) => {
      // An answer of the next server to a step that was pushed on.
      if (message.step < 0 || message.session.byteLength !== 16) return
      server()?.pushRefused(message.session, message.step, fromWire(message))
    },
    onannounce: (link, message) => {
      if (message.servers.length === 0) ongone(link.peer)
    },
    onclosed: (link) => {
      guard(server()?.disconnected(link))
      ongone(link.peer)
    },
    status
  }
}
