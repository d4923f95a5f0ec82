// A text that is being typed, drawn below what is on the terminal, and drawn anew in its place.
// Knows nothing of how it is edited.
import { terminalText } from '../../base/terminal-text.ts'

const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' })
const TAB = '    '

export interface Layout {
  readonly rows: readonly string[]
  /** Where the cursor stands. */
  readonly row: number
  readonly column: number
}

export interface LayoutOptions {
  /** Before the first line, and before each further one. */
  prompt: string
  more: string
  columns: number
}

/** Cuts a text into rows of a terminal. @param at the cursor's place in it, in code units */
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
  // A cursor behind a full row stands in the next one.
  if (width >= columns) {
    rows.push(row)
    row = ''
    width = 0
  }
  rows.push(row)
  if (at >= text.length) place = { row: rows.length - 1, column: width }
  return { rows, ...place }
}

/** What is drawn of a text, on a terminal of some height. */
export class Screen {
  readonly #write: (text: string) => void
  #drawn: Layout | undefined

  constructor(write: (text: string) => void) {
    this.#write = write
  }

  /** Draws a text in the place of the one before. @param height rows of the terminal */
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

  /** Leaves the text as it stands; the cursor goes to the line below. */
  leave(): void {
    const { rows = [''], row = 0 } = this.#drawn ?? {}
    const below = rows.length - 1 - row
    this.#write(`${below > 0 ? `\x1b[${below}B` : ''}\r\n`)
    this.#drawn = undefined
  }

  /** Takes the text away. */
  erase(columns: number): void {
    this.#write(`${this.#toTop(columns)}\x1b[J`)
    this.#drawn = undefined
  }

  /** What was drawn is not there any more: the screen was cleared. */
  forget(): void {
    this.#drawn = undefined
  }

  /** A terminal that became narrower has broken rows in two. */
  #toTop(columns: number): string {
    if (!this.#drawn) return '\r'
    const { rows, row, column } = this.#drawn
    const broken = (width: number): number => Math.max(1, Math.ceil(width / Math.max(1, columns)))
    const above = rows.slice(0, row).reduce((sum, one) => sum + broken(Bun.stringWidth(one)), 0)
    const up = above + Math.floor(column / Math.max(1, columns))
    return `\r${up > 0 ? `\x1b[${up}A` : ''}`
  }
}

/** The rows about the cursor, when there are more than the terminal has. */
function windowOf({ rows, row, column }: Layout, most: number): Layout {
  if (rows.length <= most) return { rows, row, column }
  const first = Math.min(Math.max(0, row - most + 1), rows.length - most)
  return { rows: rows.slice(first, first + most), row: row - first, column }
}
