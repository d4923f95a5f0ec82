// The part of a connection that the server room uses. PeerLink of the wire room implements it.
import type { AdapterSource } from '../weights/adapters/adapter-pack.ts'
import type { SessionOpened, Step, StepResult, WireError } from '../wire/types.ts'

export interface ServerLink {
  /** Public key of the peer, hex. */
  readonly peer: string
  /**
   * IP address of the peer. Limits count by address as well as by key, because keys are cheap to
   * make.
   */
  readonly host?: string
  opened(message: SessionOpened): void
  result(message: StepResult): void
  error(message: WireError): void
  /** False when the link is full: wait for drained(). */
  step(message: Step): boolean | void
  drained?(): Promise<void>
  /** Adapters that the peer offers for a session, where it is in this process. */
  adaptersOf?(session: Uint8Array): AdapterSource | undefined
  /**
   * Resolves when everything sent so far has arrived, with the time up to which that is known.
   * @throws AppError with the reason if the link ends first
   */
  proven?(): Promise<number>
}

/** Connects to another server, to push a step to it. Rejects if that fails or takes too long. */
export type Reach = (peer: Uint8Array, signal: AbortSignal) => Promise<ServerLink>

/**
 * What a peer's share is counted by besides its key: its address, or its key if that is unknown.
 */
export function originOf({ host, peer }: Pick<ServerLink, 'host' | 'peer'>): string {
  return host || peer
}
