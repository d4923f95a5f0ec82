// Log lines with levels, on stderr; stdout is only for the answer. Secrets are never logged. Lines
// may quote files, hubs and peers, so every line is made harmless for a terminal.
import { terminalText } from './terminal-text.ts'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

export interface Log {
  debug(message: string): void
  info(message: string): void
  warn(message: string): void
  error(message: string): void
}

const ORDER: readonly LogLevel[] = ['debug', 'info', 'warn', 'error', 'silent']

/** A log that writes lines of `level` and above through `write` (default: stderr). */
export function createLog(
  level: LogLevel = 'info',
  write: (line: string) => void = (line) => void process.stderr.write(line)
): Log {
  const floor = ORDER.indexOf(level)
  const at =
    (mine: LogLevel, prefix: string) =>
    (message: string): void => {
      if (ORDER.indexOf(mine) >= floor) write(`${prefix}${terminalText(message)}\n`)
    }
  return {
    debug: at('debug', 'debug: '),
    info: at('info', ''),
    warn: at('warn', 'warning: '),
    error: at('error', 'error: ')
  }
}

export const silentLog: Log = createLog('silent')
