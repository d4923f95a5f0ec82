// A line below an answer that has stopped for want of a server, gone without a trace when it goes
// on.
// Only on a terminal. Knows nothing of why it waits but its words.
import type { AppError } from '../../base/errors.ts'
import { fitWidth, type ProgressStream } from '../../base/progress.ts'
import { terminalText } from '../../base/terminal-text.ts'
import { stderrTerminal } from '../terminal/stderr.ts'

// What is being written may stand in the same terminal, in the middle of a line: a line below is
// made without leaving the column (index, up), the place is saved, and taken again at the end.
const BELOW = '\x1bD\x1b[A\x1b7\x1b[B'
const ERASE = '\r\x1b[2K'
const BACK = '\x1b8'

/**
 * Shows why and for how long yet; undefined takes the line away. As SessionOptions.onwait wants it.
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
  // 'No route through the model: nobody serves blocks 10:20' has its news behind the colon.
  const news = why.message.slice(why.message.indexOf(': ') + 1).trim()
  return `${news}; waiting for a server, ${left}`
}
