// stderr as what shows lines that are rewritten in place: a terminal only where its cursor moves.
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
