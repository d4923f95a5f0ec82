// What opening things needs of the surroundings: folders, a log, where to start, the environment.
import type { Log } from '../base/log.ts'
import type { Paths } from '../base/paths.ts'

/** An address of a DHT node. */
export interface Address {
  readonly host: string
  readonly port: number
}

export interface Surroundings {
  readonly paths: Paths
  readonly log: Log
  /** DHT nodes to start from; empty: the public ones. */
  readonly bootstrap: readonly Address[]
  readonly env: Readonly<Record<string, string | undefined>>
  /** Fires when the process should end. */
  readonly signal: AbortSignal
  /**
   * Reads the text on stdin, of which more than `mostBytes` is of no use. Default: none is read.
   */
  readonly readStdin?: (mostBytes: number) => Promise<string>
}

/** What this process was started with. */
export function environment(): Readonly<Record<string, string | undefined>> {
  return process.env
}
