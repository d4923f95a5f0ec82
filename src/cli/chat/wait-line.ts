// A line below an answer that has stopped because a server is missing; removed without a trace when
// the answer continues. Only on a terminal. Knows the reason only as text.
import type { AppError } from '../../base/errors.ts'
import { fitWidth, type ProgressStream } from '../../base/progress.ts'
import { terminalText } from '../../base/terminal-text.ts'
import { stderrTerminal } from '../terminal/stderr.ts'

// The answer may be written to the same terminal and stop in the middle of a line. So a line is
// made below without leaving the column (index, up), and the position is saved and restored at the
// end.
const BELOW = '\x1bD\x1b[A\x1b7\x1b[B'
const ERASE = '\r\x1b[2K'
const BACK = '\x1b8'

/**
 * Shows the reason and the time left; undefined removes the line. The type of
 * SessionOptions.onwait.
 */
export function waitLine(
  stream: ProgressStream = stderrTerminal()
): (why: AppError | undefined, leftMs: number) => void {
  let shown = ''
  return (why, leftMs) => {
    if (!stream.isTTY) return
    if (!why) {
      if (shown !== '') stream.write(`${ERASE}${BACK}`)
      shown = ''
      return
    }
    const text = fitWidth(terminalText(waitText(why, leftMs)), (stream.columns || 80) - 1)
    if (text === shown) return
    stream.write(`${shown === '' ? BELOW : ''}${ERASE}${text}`)
    shown = text
  }
}

export function waitText(why: AppError, leftMs: number): string {
  const left = `${Math.ceil(leftMs / 1000)} s more`
  if (why.code !== 'NO_ROUTE') return `a server went away; looking for another, ${left}`
  // Only the part after the colon: 'No route through the model: nobody serves blocks 10:20'.
  const news = why.message.slice(why.message.indexOf(': ') + 1).trim()
  return `${news}; waiting for a server, ${left}`
}
