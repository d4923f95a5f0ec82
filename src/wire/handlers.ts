// The callbacks of a link, and its options. Callbacks are plain functions since they run for every
// frame. Bytes and tensors in messages are views into the frame: copy them to keep them.
import type { Clock } from '../base/clock.ts'
import type { AppError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { LivenessTimes } from './liveness.ts'
import type {
  Announce,
  CancelStep,
  CloseSession,
  Give,
  Hello,
  KeepPrefix,
  OpenSession,
  ServerStatus,
  SessionOpened,
  Step,
  StepResult,
  Tune,
  Tuned,
  Want,
  WireError
} from './types.ts'

/** `Link` is the class that calls: PeerLink. */
export interface HandlersOf<Link> {
  /** The other end's hello has come, and neither end refuses the other. */
  onready?(link: Link): void
  onopen?(link: Link, message: OpenSession): void
  onopened?(link: Link, message: SessionOpened): void
  /** While the promise is open the step's bytes count against maxPendingBytes. */
  onstep?(link: Link, message: Step): void | Promise<void>
  onresult?(link: Link, message: StepResult): void
  /**
   * Also called for an opened or result that cannot be read: it counts as the failure of that
   * request.
   */
  onerror?(link: Link, message: WireError): void
  oncancel?(link: Link, message: CancelStep): void
  onkeep?(link: Link, message: KeepPrefix): void
  onclosesession?(link: Link, message: CloseSession): void
  /** link.servers is up to date already. */
  onannounce?(link: Link, message: Announce): void
  /** A request for weights. */
  onwant?(link: Link, message: Want): void
  ongive?(link: Link, message: Give): void
  /** A piece of a training call. */
  ontune?(link: Link, message: Tune): void
  ontuned?(link: Link, message: Tuned): void
  /** Called once, whatever the reason; CLOSED when this end asked for it. */
  onclosed?(link: Link, error: AppError): void
  /** The status in pongs and in the link's own errors. */
  status?(): ServerStatus
}

interface PassedOn {
  open(message: OpenSession): void
  opened(message: SessionOpened): void
  result(message: StepResult): void
  cancel(message: CancelStep): void
  close(message: CloseSession): void
  keep(message: KeepPrefix): void
  want(message: Want): void
  give(message: Give): void
  tune(message: Tune): void
  tuned(message: Tuned): void
}

export interface Refusal {
  readonly why: AppError
  /** Whether the peer learns why; else its connection ends without a word. */
  readonly isTold: boolean
}

export interface OptionsOf<Link> {
  /**
   * What this end says about itself; a function is called once the connection has its handshake's
   * hash.
   */
  hello: Hello | ((link: Link) => Hello)
  /**
   * Why a peer with this hello is refused. A peer that is not
   * refused must now be sent an announcement, for which each end waits. Default: nobody is refused
   * and no announcement is expected.
   */
  refusal?: (link: Link, hello: Hello) => Refusal | undefined
  handlers: HandlersOf<Link>
  clock?: Clock
  log?: Log
  /** Time limit for the other end's hello, ms. Default 10000. */
  helloMs?: number
  /** Bytes that may wait for a peer that does not read; with more the link ends. Default 32 MiB. */
  maxQueuedBytes?: number
  /** Above this many waiting bytes the sending methods return false. Default 1 MiB. */
  softQueuedBytes?: number
  /** The link ends when waiting bytes do not move for so long, ms. Default 20000. */
  stallMs?: number
  /** Bytes of unanswered steps above which reading pauses. Default 16 MiB. */
  maxPendingBytes?: number
  /** Silence that ends the link, ms; keep-alives go every 5000. Default 20000. */
  silenceMs?: number
  /** When a peer that somebody waits for counts as gone. */
  liveness?: LivenessTimes
}

/** How messages go to handlers that need nothing else; those of no session wait for `isReady`. */
export function passedOn<Link>(
  link: Link,
  handlers: HandlersOf<Link>,
  isReady: () => boolean
): PassedOn {
  return {
    open: (message) => handlers.onopen?.(link, message),
    opened: (message) => handlers.onopened?.(link, message),
    result: (message) => handlers.onresult?.(link, message),
    cancel: (message) => handlers.oncancel?.(link, message),
    close: (message) => handlers.onclosesession?.(link, message),
    keep: (message) => handlers.onkeep?.(link, message),
    want: (message) => isReady() && handlers.onwant?.(link, message),
    give: (message) => isReady() && handlers.ongive?.(link, message),
    tune: (message) => isReady() && handlers.ontune?.(link, message),
    tuned: (message) => isReady() && handlers.ontuned?.(link, message)
  }
}
