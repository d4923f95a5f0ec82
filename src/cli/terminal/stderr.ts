// stderr for lines that are rewritten in place; it counts as a terminal only if the cursor can be
// moved.
import { createProgress, type Progress, type ProgressStream } from '../../base/progress.ts'
import type { Log } from '../../base/log.ts'
import { hasCursor } from './style.ts'

export function stderrTerminal(): ProgressStream {
  const { stderr } = process
  return {
    isTTY: hasCursor(stderr.isTTY, process.env),
    get columns() {
      return stderr.columns
    },
    write: (text) => stderr.write(text)
  }
}

/** A line of progress on stderr. */
export function stderrProgress(): Progress {
  return createProgress(stderrTerminal())
}

/**
 * The same for what runs long: what is done is told in lines of the log where no line can be
 * rewritten.
 */
export function serverProgress(log: Log, terminal: ProgressStream = stderrTerminal()): Progress {
  const line = createProgress(terminal)
  if (terminal.isTTY) return line
  let last = ''
  return {
    ...line,
    stage(text) {
      if (text !== last) log.info(text)
      last = text
    }
  }
}

let show = (text: string): void => void process.stderr.write(text)

/** What is said beside the answer, in whole lines. */
export function writeStderr(text: string): void {
  show(text)
}

/** Lets `instead` show it, where a line is being edited; ends that. */
export function takeStderr(instead: (text: string) => void): () => void {
  const before = show
  show = instead
  return () => {
    show = before
  }
}
