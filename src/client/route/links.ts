// What the client room needs of connections; connections.ts makes it from the swarm's links.
import type { AppError } from '../../base/errors.ts'
import type {
  CancelStep,
  CloseSession,
  KeepPrefix,
  OpenSession,
  ServerInfo,
  SessionOpened,
  Step,
  StepResult,
  WireError
} from '../../wire/types.ts'

export interface ClientLink {
  /** Hex of the server's public key. */
  readonly peer: string
  readonly key: Uint8Array
  readonly closed: boolean
  /** The server is in this process: it pushes to nobody, and nobody pushes to it. Default false. */
  readonly isLocal?: boolean
  /** What the server says of itself now; undefined when that is not known. */
  readonly servers?: readonly ServerInfo[]
  open(message: OpenSession): void
  step(message: Step): void
  cancel(message: CancelStep): void
  keep(message: KeepPrefix): void
  closeSession(message: CloseSession): void
  /** Round trip in ms. @throws AppError TIMEOUT or DISCONNECTED */
  ping(timeoutMs: number): Promise<number>
  /** Watches the server until the returned function is called: a silent one's link ends. */
  awaited(): () => void
}

/** What arrives for one session, from whichever server. */
export interface SessionEvents {
  onopened(link: ClientLink, message: SessionOpened): void
  onresult(link: ClientLink, message: StepResult): void
  onerror(link: ClientLink, message: WireError): void
  /** @param why TIMEOUT when it was silent, else DISCONNECTED */
  ondisconnect(link: ClientLink, why: AppError): void
}

export interface Connections {
  /**
   * Reaches a server within `timeoutMs`, or returns the link that is open. It may take longer only
   * while the way to the server is being made, as through NATs.
   */
  connect(peer: string, signal: AbortSignal, timeoutMs: number): Promise<ClientLink>
  /** Delivers a session's messages until the returned function is called. */
  listen(session: Uint8Array, events: SessionEvents): () => void
}
