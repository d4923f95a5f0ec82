// One line of progress on stderr, on a terminal only; rewritten in place and removed at the end.

export interface Progress {
  /** Shows `text`, at most ten times a second. */
  update(text: string): void
  /** Removes the line. */
  done(): void
}

export interface ProgressStream {
  isTTY?: boolean
  columns?: number
  write(text: string): unknown
}

/** Progress written to `stream` when it is a terminal, otherwise nothing. */
export function createProgress(
  stream: ProgressStream = process.stderr,
  now: () => number = () => performance.now()
): Progress {
  let last = -Infinity
  let shown = false
  return {
    update(text) {
      if (!stream.isTTY || now() - last < 100) return
      last = now()
      shown = true
      stream.write(`\r\x1b[2K${text.slice(0, (stream.columns ?? 80) - 1)}`)
    },
    done() {
      if (shown) stream.write('\r\x1b[2K')
      shown = false
    }
  }
}

export const noProgress: Progress = { update() {}, done() {} }
