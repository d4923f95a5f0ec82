// An answer that comes in pieces, broken at words for a terminal. What has been written of a word
// goes to the next line when the word turns out too long. Lines of code stay as they are.

const FENCE = /^ {0,3}(```|~~~)/
const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' })

export class WordWrap {
  readonly #columns: () => number
  /** What stands in the row so far. */
  #width = 0
  /** Of it, the word that is not at its end. */
  #word = ''
  /** The line so far, as the answer has it. */
  #line = ''
  #isCode = false

  /** @param columns of the terminal; asked each time, because it may change */
  constructor(columns: () => number) {
    this.#columns = columns
  }

  /** What to write for a piece of the answer. */
  push(text: string): string {
    let out = ''
    for (const { segment } of graphemes.segment(text)) out += this.#one(segment)
    return out
  }

  /** Column that the cursor stands in. */
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
    // The last column stays free: a cursor behind it cannot be moved back by what is known.
    const columns = Math.max(2, this.#columns() - 1)
    const wide = segment === '\t' ? 8 - (this.#width % 8) : Bun.stringWidth(segment)
    if (this.#isCode || FENCE.test(this.#line)) {
      this.#width = (this.#width + wide) % columns
      return segment
    }
    const isSpace = /^\s$/u.test(segment)
    // A space at the row's end is the break itself.
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

  /** To the next row, with the word's beginning where it fits there. */
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
