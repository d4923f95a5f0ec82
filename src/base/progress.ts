// One line of progress on stderr, on a terminal only; rewritten in place and removed at the end.

import { terminalText } from './terminal-text.ts'

export interface Progress {
  /** Shows `text`, at most ten times a second. */
  update(text: string): void
  /** Shows what is being done from now on, in words that stay the same while it is done. */
  stage(text: string): void
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
  const update = (text: string): void => {
    if (!stream.isTTY || now() - last < 100) return
    last = now()
    shown = true
    // Some terminals say that they are 0 wide.
    stream.write(`\r\x1b[2K${fitWidth(terminalText(text), (stream.columns || 80) - 1)}`)
  }
  return {
    update,
    stage: update,
    done() {
      if (shown) stream.write('\r\x1b[2K')
      shown = false
    }
  }
}

export const noProgress: Progress = { update() {}, stage() {}, done() {} }

/** As much of `text` as fits into so many columns of a terminal. */
export function fitWidth(text: string, columns: number): string {
  if (Bun.stringWidth(text) <= columns) return text
  let fitting = ''
  let width = 0
  for (const { segment } of graphemes.segment(text)) {
    width += Bun.stringWidth(segment)
    if (width > columns) break
    fitting += segment
  }
  return fitting
}

const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' })
