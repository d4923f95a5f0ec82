// Draws a text that is being edited below what is on the terminal, and redraws it in place. Does
// not know how it is edited.
import { terminalText } from '../../base/terminal-text.ts'

const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' })
const TAB = '    '

export interface Layout {
  readonly rows: readonly string[]
  /** Row of the cursor. */
  readonly row: number
  readonly column: number
}

export interface LayoutOptions {
  /** Before the first line, and before each further one. */
  prompt: string
  more: string
  columns: number
}

/** Breaks a text into rows of a terminal. @param at the cursor's position in it, in code units */
export function layOut(text: string, at: number, options: LayoutOptions): Layout {
  const columns = Math.max(8, options.columns)
  const rows: string[] = []
  let row = options.prompt
  let width = Bun.stringWidth(row)
  let place = { row: 0, column: width }
  for (const { index, segment } of graphemes.segment(text)) {
    if (index === at) place = { row: rows.length, column: width }
    if (segment === '\n' || segment === '\r\n') {
      rows.push(row)
      row = options.more
      width = Bun.stringWidth(row)
      continue
    }
    const shown = segment === '\t' ? TAB : terminalText(segment)
    const wide = Bun.stringWidth(shown)
    if (width + wide > columns) {
      rows.push(row)
      row = ''
      width = 0
      if (index === at) place = { row: rows.length, column: 0 }
    }
    row += shown
    width += wide
  }
  // After a full row the cursor is in the next one.
  if (width >= columns) {
    rows.push(row)
    row = ''
    width = 0
  }
  rows.push(row)
  if (at >= text.length) place = { row: rows.length - 1, column: width }
  return { rows, ...place }
}

/** What is drawn of a text, on a terminal of a given height. */
export class Screen {
  readonly #write: (text: string) => void
  #drawn: Layout | undefined

  constructor(write: (text: string) => void) {
    this.#write = write
  }

  /** Draws a text in place of the last one. @param height rows of the terminal */
  draw(layout: Layout, height: number, columns: number): void {
    const shown = windowOf(layout, Math.max(1, height - 1))
    const below = shown.rows.length - 1 - shown.row
    this.#write(
      `${this.#toTop(columns)}\x1b[J${shown.rows.join('\r\n')}\r` +
        (below > 0 ? `\x1b[${below}A` : '') +
        (shown.column > 0 ? `\x1b[${shown.column}C` : '')
    )
    this.#drawn = shown
  }

  /** Leaves the text on the screen; the cursor goes to the line below. */
  leave(): void {
    const { rows = [''], row = 0 } = this.#drawn ?? {}
    const below = rows.length - 1 - row
    this.#write(`${below > 0 ? `\x1b[${below}B` : ''}\r\n`)
    this.#drawn = undefined
  }

  /** Removes the text. */
  erase(columns: number): void {
    this.#write(`${this.#toTop(columns)}\x1b[J`)
    this.#drawn = undefined
  }

  /** The screen was cleared, so nothing is drawn any more. */
  forget(): void {
    this.#drawn = undefined
  }

  /** If the terminal became narrower, its rows have been broken in two. */
  #toTop(columns: number): string {
    if (!this.#drawn) return '\r'
    const { rows, row, column } = this.#drawn
    const broken = (width: number): number => Math.max(1, Math.ceil(width / Math.max(1, columns)))
    const above = rows.slice(0, row).reduce((sum, one) => sum + broken(Bun.stringWidth(one)), 0)
    const up = above + Math.floor(column / Math.max(1, columns))
    return `\r${up > 0 ? `\x1b[${up}A` : ''}`
  }
}

/** The rows around the cursor, if the terminal has fewer rows. */
function windowOf({ rows, row, column }: Layout, most: number): Layout {
  if (rows.length <= most) return { rows, row, column }
  const first = Math.min(Math.max(0, row - most + 1), rows.length - most)
  return { rows: rows.slice(first, first + most), row: row - first, column }
}
