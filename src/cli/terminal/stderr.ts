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

/** The line of progress that was shown last. */
let standing: Progress | undefined

/** A line of progress on stderr; lines of the log take its place. */
export function stderrProgress(terminal: ProgressStream = stderrTerminal()): Progress {
  const line = createProgress(terminal)
  return {
    update(text) {
      standing = line
      line.update(text)
    },
    stage(text) {
      standing = line
      line.stage(text)
    },
    done: () => line.done()
  }
}

/**
 * The same for what runs long: what is done is told in lines of the log where no line can be
 * rewritten.
 */
export function serverProgress(log: Log, terminal: ProgressStream = stderrTerminal()): Progress {
  const line = stderrProgress(terminal)
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
  standing?.done()
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
