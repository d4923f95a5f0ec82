// What every command needs of its surroundings; the only place besides main.ts that reads the
// environment.
import { createLog, type Log } from '../base/log.ts'
import { resolvePaths, type Paths } from '../base/paths.ts'
import type { Flags } from './options.ts'
import { parseChoice, resolveAddresses, type Address } from './options.ts'

export interface Context {
  readonly paths: Paths
  readonly log: Log
  readonly debug: boolean
  /** DHT nodes to start from; empty: the public ones. */
  readonly bootstrap: readonly Address[]
  readonly env: Readonly<Record<string, string | undefined>>
  /** Fires at the first Ctrl-C or SIGTERM. */
  readonly signal: AbortSignal
  /** The text on stdin, of which more than `mostBytes` is of no use. */
  readonly readStdin?: (mostBytes: number) => Promise<string>
}

/**
 * Reads options and environment.
 * @throws AppError BAD_INPUT, or UNAVAILABLE for a host that has no address
 */
export async function createContext(flags: Flags, signal: AbortSignal): Promise<Context> {
  const { env } = process
  const debug = flags['debug'] === true
  const level = parseChoice('log-level', textOf(flags['logLevel']), LEVELS)
  return {
    paths: resolvePaths(env),
    log: createLog(debug ? 'debug' : (level ?? 'info')),
    debug,
    bootstrap: await resolveAddresses(
      textOf(flags['bootstrap']) ?? (env['PETALS_BOOTSTRAP'] || undefined)
    ),
    env,
    signal,
    readStdin
  }
}

async function readStdin(mostBytes: number): Promise<string> {
  const { readOpenFile } = await import('./chat/input.ts')
  const { stdinFacts } = await import('./chat/stdin.ts')
  // Moves the file's offset, by which others see that nothing of it is left: what was read here
  // must not become a part of the prompt.
  if (stdinFacts().kind === 'file') return readOpenFile(0)
  let text = ''
  for await (const chunk of process.stdin) {
    text += String(chunk)
    if (text.length > mostBytes) break
  }
  return text
}

const LEVELS = ['debug', 'info', 'warn', 'error'] as const

function textOf(value: Flags[string]): string | undefined {
  return typeof value === 'string' ? value : undefined
}
