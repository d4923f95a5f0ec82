// What a link calls when something arrives, and what it is made with. Plain callbacks: they run per
// frame. Bytes and tensors in messages are views into the frame: copy what is kept.
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
  Want,
  WireError
} from './types.ts'

/** `Link` is what calls: a PeerLink. */
export interface HandlersOf<Link> {
  /** The other side's hello is here, and nobody is refused. */
  onready?(link: Link): void
  onopen?(link: Link, message: OpenSession): void
  onopened?(link: Link, message: SessionOpened): void
  /** While the promise is open the step's bytes count against maxPendingBytes. */
  onstep?(link: Link, message: Step): void | Promise<void>
  onresult?(link: Link, message: StepResult): void
  /** Also called for an unreadable opened or result: it is the failure of what it answers. */
  onerror?(link: Link, message: WireError): void
  oncancel?(link: Link, message: CancelStep): void
  onkeep?(link: Link, message: KeepPrefix): void
  onclosesession?(link: Link, message: CloseSession): void
  /** link.servers is up to date already. */
  onannounce?(link: Link, message: Announce): void
  /** A question about weights. */
  onwant?(link: Link, message: Want): void
  ongive?(link: Link, message: Give): void
  /** Once, whatever the reason; CLOSED when this end asked for it. */
  onclosed?(link: Link, error: AppError): void
  /** For pongs and for errors of the link's own. */
  status?(): ServerStatus
}

export interface OptionsOf<Link> {
  /** What this end says of itself; of a function: once the connection has its handshake's hash. */
  hello: Hello | ((link: Link) => Hello)
  /**
   * Why a peer with this hello is refused; it then learns that and nothing else. Who is not refused
   * must be sent an announcement now: each side waits for the other's. Default: nobody is, none is
   * awaited.
   */
  refusal?: (link: Link, hello: Hello) => AppError | undefined
  handlers: HandlersOf<Link>
  clock?: Clock
  log?: Log
  /** Time for the other side's hello, ms. Default 10000. */
  helloMs?: number
  /** Bytes that may wait for a peer that does not read; above, the link ends. Default 32 MiB. */
  maxQueuedBytes?: number
  /** Senders return false above so many waiting bytes. Default 1 MiB. */
  softQueuedBytes?: number
  /** Waiting bytes that do not move for so long end the link, ms. Default 20000. */
  stallMs?: number
  /** Bytes of unanswered steps above which reading pauses. Default 16 MiB. */
  maxPendingBytes?: number
  /** Silence that ends the link, ms; keep-alives go every 5000. Default 20000. */
  silenceMs?: number
  /** How a peer is watched that somebody waits for. */
  liveness?: LivenessTimes
}
