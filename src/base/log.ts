// Log lines with levels, on stderr; stdout is only for the answer. Secrets are never logged. Lines
// may quote files, hubs and peers, so every line is made harmless for a terminal.
import { systemClock, type Clock } from './clock.ts'
import { terminalText } from './terminal-text.ts'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'
/** 'json': one object a line, for machines. */
export type LogFormat = 'text' | 'json'

/**
 * What a line says for machines, by name. With an `event` the line is one of a server's history: it
 * begins with that word and the time.
 */
export interface LogFields {
  readonly event?: string
  readonly [name: string]: string | number | boolean | undefined
}

export interface Log {
  debug(message: string, fields?: LogFields): void
  info(message: string, fields?: LogFields): void
  warn(message: string, fields?: LogFields): void
  error(message: string, fields?: LogFields): void
}

export interface LogOptions {
  /** Default 'text'. */
  format?: LogFormat
  clock?: Pick<Clock, 'wall'>
}

const ORDER: readonly LogLevel[] = ['debug', 'info', 'warn', 'error', 'silent']
const PREFIXES = { debug: 'debug: ', info: '', warn: 'warning: ', error: 'error: ' } as const

/** A log that writes lines of `level` and above through `write` (default: stderr). */
export function createLog(
  level: LogLevel = 'info',
  write: (line: string) => void = (line) => void process.stderr.write(line),
  { format = 'text', clock = systemClock }: LogOptions = {}
): Log {
  const floor = ORDER.indexOf(level)
  const at =
    (mine: keyof typeof PREFIXES) =>
    (message: string, fields?: LogFields): void => {
      if (ORDER.indexOf(mine) < floor) return
      const time = clock.wall()
      if (format === 'json') return write(jsonLine({ time, level: mine, message, fields }))
      const event = fields?.event === undefined ? '' : `${fields.event}: ${timeText(time)} `
      write(`${PREFIXES[mine]}${event}${terminalText(message)}\n`)
    }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

export const silentLog: Log = createLog('silent')

/** One line of a server's history, in the format of the log but at any level of it. */
export function eventLine(
  event: string,
  message: string,
  { format = 'text', clock = systemClock }: LogOptions = {}
): string {
  let line = ''
  createLog('info', (text) => (line = text), { format, clock }).info(message, { event })
  return line
}

export interface LogLine {
  /** Wall clock, ms. */
  readonly time: number
  readonly level: Exclude<LogLevel, 'silent'>
  readonly message: string
  readonly fields?: LogFields | undefined
}

/** One line of JSON with time (ISO 8601), level, message and fields. */
export function jsonLine({ time, level, message, fields }: LogLine): string {
  const line = { time: new Date(time).toISOString(), level, message: terminalText(message) }
  // Twice: they come first, and no field takes their place.
  return `${JSON.stringify({ ...line, ...fields, ...line })}\n`
}

/** Local date and time to the second. */
function timeText(wall: number): string {
  const at = new Date(wall)
  const two = (value: number): string => String(value).padStart(2, '0')
  const date = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`
  return `${date} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
}
