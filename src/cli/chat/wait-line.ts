// A line below an answer that has stopped because a server is missing; removed without a trace when
// the answer continues. Only on a terminal. Knows the reason only as text.
import { fitWidth, type ProgressStream } from '../../base/progress.ts'
import { terminalText } from '../../base/terminal-text.ts'
import { stderrTerminal } from '../terminal/stderr.ts'

// The answer may be written to the same terminal and stop in the middle of a line. So a line is
// made below without leaving the column (index, up), and the position is saved and restored at the
// end.
const BELOW = '\x1bD\x1b[A\x1b7\x1b[B'
const ERASE = '\r\x1b[2K'
const BACK = '\x1b8'

/** Shows the text; undefined removes the line. */
export function waitLine(
  stream: ProgressStream = stderrTerminal()
): (text: string | undefined) => void {
  let shown = ''
  return (text) => {
    if (!stream.isTTY) return
    if (text === undefined) {
      if (shown !== '') stream.write(`${ERASE}${BACK}`)
      shown = ''
      return
    }
    const line = fitWidth(terminalText(text), (stream.columns || 80) - 1)
    if (line === shown) return
    stream.write(`${shown === '' ? BELOW : ''}${ERASE}${line}`)
    shown = line
  }
}
