// Dispatches what arrives over a host's links: each message passes the gate of a private swarm and
// goes to the current block server; if there is none, the sender is told. Called by the links.
// Knows no engine.
import { AppError, toAppError, unsupported } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { LinkHandlers } from '../../wire/link.ts'
import { fromWire, IDLE, toWire } from '../../wire/peer-error.ts'
import type { ServerStatus } from '../../wire/types.ts'
import type { ServerEvents } from '../events.ts'
import type { BlockServer } from './block-server.ts'
import type { ServerLink } from '../links.ts'
import type { TrainServer } from '../training/train-server.ts'
import type { MemberGate } from './member-gate.ts'

export interface DispatchOptions {
  /** Undefined while blocks are loaded. */
  server: () => BlockServer | undefined
  /** As `server`, for training calls; undefined as well where none are taken. */
  trainer: () => TrainServer | undefined
  /** Set in a private swarm. */
  gate: () => MemberGate | undefined
  /** Called when a peer's link ends, and when a peer says that it serves nothing any more. */
  ongone: (peer: string) => void
  events: ServerEvents
  log: Log
}

/** Loading takes about a minute. */
const AWAY_MS = 60_000

/** The error for requests to a server that is loading. */
export function notServing(): AppError {
  return new AppError('BUSY', 'The server serves no blocks now: it loads others', {
    retryAfterMs: AWAY_MS
  })
}

/** The error for training calls to a server that takes none. */
function notTraining(): AppError {
  return unsupported('The server computes no steps of trainings')
}

export function dispatchMessages(options: DispatchOptions): LinkHandlers {
  const { server, trainer, gate, ongone, events, log } = options
  const status = (): ServerStatus => server()?.status() ?? IDLE
  const refuse = (link: ServerLink, session: Uint8Array, step: number, error: AppError): void => {
    events.refused(link.peer, step < 0 ? 'a session' : 'a step', error)
    link.error(toWire(error, { session, step, status: status() }))
  }
  /** Whether the gate admits the message; if not, the peer is told why. */
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
  /** Nobody waits for the work on a frame, so its errors are handled here. */
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
      // The owner would take an error for the answer to the step, so a stranger to the session gets
      // no answer.
      const guarded = gate()
      if (guarded && !guarded.mayBring(link, message)) return
      const { session, step } = message
      const now = server()
      const owner = now?.sessions.get(session)?.owner ?? link
      if (!permits(() => guarded?.step(message), { link: owner, session, step })) return
      if (now) return now.step(link, message, () => guarded?.spend(message))
      refuse(link, session, step, notServing())
    },
    oncancel: (link, message) => server()?.cancel(link, message),
    onkeep: (link, message) => server()?.keep(link, message),
    onclosesession: (link, message) => guard(server()?.closeSession(link, message)),
    ontune: (link, message) => {
      const now = trainer()
      const guarded = gate()
      if (now !== undefined) {
        return now.ontune(link, message, (tokens) => guarded?.train(link, tokens))
      }
      if (message.cancel === true) return
      const why = server() === undefined ? notServing() : notTraining()
      const failure = toWire(why, { status: status() })
      link.tuned({ request: message.request, left: 0, data: new Uint8Array(0), failure })
    },
    onerror: (_link, message) => {
      // An answer of the next server to a step that was pushed to it.
      if (message.step < 0 || message.session.byteLength !== 16) return
      server()?.pushRefused(message.session, message.step, fromWire(message))
    },
    onannounce: (link, message) => {
      if (message.servers.length === 0) ongone(link.peer)
    },
    onclosed: (link) => {
      guard(server()?.disconnected(link))
      trainer()?.onclosed(link)
      ongone(link.peer)
    },
    status: () => {
      const { trainingTokens: trained } = events
      return trained > 0 ? { ...status(), trained } : status()
    }
  }
}
