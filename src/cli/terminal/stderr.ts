// stderr for lines that are rewritten in place; it counts as a terminal only if the cursor can be
// moved.
import { createProgress, type Progress, type ProgressStream } from '../../base/progress.ts'
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
