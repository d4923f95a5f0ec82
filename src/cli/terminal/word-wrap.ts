// Wraps an answer that arrives in pieces at words. If a word turns out too long for the row, its
// part that is already written moves to the next line. Lines of code are not wrapped.

const FENCE = /^ {0,3}(```|~~~)/
const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' })

export class WordWrap {
  readonly #columns: () => number
  /** Width of the current row. */
  #width = 0
  /** The word at the end of the row, which may continue. */
  #word = ''
  /** The current line of the answer. */
  #line = ''
  #isCode = false

  /** @param columns width of the terminal; asked each time, because it may change */
  constructor(columns: () => number) {
    this.#columns = columns
  }

  /** What to write for a piece of the answer. */
  push(text: string): string {
    let out = ''
    for (const { segment } of graphemes.segment(text)) out += this.#one(segment)
    return out
  }

  /** Column of the cursor. */
  get column(): number {
    return this.#width
  }

  #one(segment: string): string {
    if (segment === '\n' || segment === '\r\n') {
      if (FENCE.test(this.#line)) this.#isCode = !this.#isCode
      this.#width = 0
      this.#word = ''
      this.#line = ''
      return '\n'
    }
    this.#line += segment
    // The last column stays free, because a cursor after it cannot be moved back reliably.
    const columns = Math.max(2, this.#columns() - 1)
    const wide = segment === '\t' ? 8 - (this.#width % 8) : Bun.stringWidth(segment)
    if (this.#isCode || FENCE.test(this.#line)) {
      this.#width = (this.#width + wide) % columns
      return segment
    }
    const isSpace = /^\s$/u.test(segment)
    // A space at the row's end is replaced by the break.
    if (isSpace && this.#width + wide > columns) {
      this.#width = 0
      this.#word = ''
      return '\n'
    }
    const before = this.#width + wide > columns ? this.#break(columns) : ''
    this.#width += wide
    // Scripts without spaces break anywhere.
    this.#word = isSpace || wide > 1 ? '' : this.#word + segment
    return before + segment
  }

  /** Starts a new row, with the beginning of the word if it fits there. */
  #break(columns: number): string {
    const word = this.#word
    const wide = Bun.stringWidth(word)
    if (word === '' || wide >= this.#width || wide >= columns / 2) {
      this.#word = ''
      this.#width = 0
      return '\n'
    }
    this.#width = wide
    return `\x1b[${wide}D\x1b[K\n${word}`
  }
}
