// What the server room needs of a connection; wire's PeerLink is one.
import type { SessionOpened, Step, StepResult, WireError } from '../wire/types.ts'

export interface ServerLink {
  /** Hex of the other end's public key. */
  readonly peer: string
  /** IP address of the other end. Keys are cheap, addresses less so: limits count by both. */
  readonly host?: string
  opened(message: SessionOpened): void
  result(message: StepResult): void
  error(message: WireError): void
  /** False when the link is full: wait for drained(). */
  step(message: Step): boolean | void
  drained?(): Promise<void>
  /**
   * Resolves when what was sent so far has arrived, with the time until which that is known.
   * @throws AppError why the link ended first
   */
  proven?(): Promise<number>
}

/** Reaches another server to push a step to it; rejects when that cannot be done in time. */
export type Reach = (peer: Uint8Array, signal: AbortSignal) => Promise<ServerLink>

/**
 * By what a peer's share of a server is counted beside its key: its address where that is known.
 */
export function originOf({ host, peer }: Pick<ServerLink, 'host' | 'peer'>): string {
  return host || peer
}
