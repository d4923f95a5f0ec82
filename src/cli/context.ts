// What every command needs of its surroundings; the only place besides main.ts that reads the
// environment.
import { createLog, type Log } from '../base/log.ts'
import { resolvePaths, type Paths } from '../base/paths.ts'
import { parseAddresses, parseChoice, type Address } from './options.ts'

export interface CommonOptions {
  bootstrap?: unknown
  logLevel?: unknown
  debug?: unknown
}

export interface Context {
  readonly paths: Paths
  readonly log: Log
  readonly debug: boolean
  /** DHT nodes to start from; empty: the public ones. */
  readonly bootstrap: readonly Address[]
  readonly env: Readonly<Record<string, string | undefined>>
  /** Fires at the first Ctrl-C or SIGTERM. */
  readonly signal: AbortSignal
}

/** Reads options and environment. @throws AppError BAD_INPUT */
export function createContext(options: CommonOptions, signal: AbortSignal): Context {
  const { env } = process
  const debug = options.debug === true
  const level = parseChoice('log-level', options.logLevel, ['debug', 'info', 'warn', 'error'])
  return {
    paths: resolvePaths(env),
    log: createLog(debug ? 'debug' : (level ?? 'info')),
    debug,
    bootstrap: parseAddresses(options.bootstrap ?? env['PETALS_BOOTSTRAP']),
    env,
    signal
  }
}
