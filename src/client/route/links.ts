// The connections that the client room needs; connections.ts implements them over the swarm's
// links.
import type { AppError } from '../../base/errors.ts'
import type { AdapterSource } from '../../weights/adapters/adapter-pack.ts'
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
  /** Public key of the server, hex. */
  readonly peer: string
  readonly key: Uint8Array
  readonly closed: boolean
  /** The server is in this process: it pushes to nobody, and nobody pushes to it. Default false. */
  readonly isLocal?: boolean
  /** The server's current description; undefined if unknown. */
  readonly servers?: readonly ServerInfo[]
  open(message: OpenSession): void
  step(message: Step): void
  cancel(message: CancelStep): void
  keep(message: KeepPrefix): void
  closeSession(message: CloseSession): void
  /** Round trip in ms. @throws AppError TIMEOUT or DISCONNECTED */
  ping(timeoutMs: number): Promise<number>
  /** Watches the server until the returned function is called: a silent server's link is ended. */
  awaited(): () => void
}

/** Receives what arrives for one session, from whichever server. */
export interface SessionEvents {
  /** Adapters that the session runs with, for servers in this process. */
  readonly adapters?: AdapterSource | undefined
  onopened(link: ClientLink, message: SessionOpened): void
  onresult(link: ClientLink, message: StepResult): void
  onerror(link: ClientLink, message: WireError): void
  /** @param why TIMEOUT if the server was silent, else DISCONNECTED */
  ondisconnect(link: ClientLink, why: AppError): void
}

export interface Connections {
  /**
   * Connects to a server within `timeoutMs`, or returns the open link. It takes longer only while a
   * path to the server is being set up, e.g. through NATs.
   */
  connect(peer: string, signal: AbortSignal, timeoutMs: number): Promise<ClientLink>
  /** Delivers a session's messages until the returned function is called. */
  listen(session: Uint8Array, events: SessionEvents): () => void
}
