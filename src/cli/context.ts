// What every command needs from its environment. Besides main.ts, only this file reads environment
// variables.
import { systemClock } from '../base/clock.ts'
import { createLog, jsonLine, type Log, type LogFormat } from '../base/log.ts'
import { resolvePaths, type Paths } from '../base/paths.ts'
import type { Flags } from './options.ts'
import { resolveAddresses } from '../library/open/addresses.ts'
import type { Address } from '../library/surroundings.ts'
import { parseChoice } from './options.ts'
import { writeStderr } from './terminal/stderr.ts'

export interface Context {
  readonly paths: Paths
  readonly log: Log
  /** Writes lines on stderr that no log level hides: they were asked for. */
  readonly tell: (text: string) => void
  readonly debug: boolean
  /** DHT nodes to start from; if empty, the public ones. */
  readonly bootstrap: readonly Address[]
  readonly env: Readonly<Record<string, string | undefined>>
  /** Fires at the first Ctrl-C or SIGTERM. */
  readonly signal: AbortSignal
  /** The text on stdin; more than `mostBytes` of it is not needed. */
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
  const logFormat = parseChoice('log-format', textOf(flags['logFormat']), LOG_FORMATS) ?? 'text'
  return {
    paths: resolvePaths(env),
    log: createLog(debug ? 'debug' : (level ?? 'info'), writeStderr, { format: logFormat }),
    tell: (text) => writeStderr(asLines(text, logFormat)),
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
  // This moves the file's offset, which tells others that nothing of it is left: what was read here
  // must not become part of the prompt.
  if (stdinFacts().kind === 'file') return readOpenFile(0)
  let text = ''
  for await (const chunk of process.stdin) {
    text += String(chunk)
    if (text.length > mostBytes) break
  }
  return text
}

/** Text for stderr in the log's format. */
function asLines(text: string, format: LogFormat): string {
  if (format === 'text') return text
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  const time = systemClock.wall()
  return lines.map((message) => jsonLine({ time, level: 'info', message })).join('')
}

/** What was typed, for what goes wrong before there is a context. */
export function logFormatOf(typed: readonly string[]): LogFormat {
  const at = typed.indexOf('--log-format')
  return typed[at + 1] === 'json' && at >= 0
    ? 'json'
    : typed.includes('--log-format=json')
      ? 'json'
      : 'text'
}

const LOG_FORMATS: readonly LogFormat[] = ['text', 'json']
const LEVELS = ['debug', 'info', 'warn', 'error'] as const

function textOf(value: Flags[string]): string | undefined {
  return typeof value === 'string' ? value : undefined
}
