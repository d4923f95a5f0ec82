// A terminal of some size that keeps what is shown on it, for tests of what draws there.

const [ESC, BEL] = ['\x1b', '\x07']
/** A control sequence, a text for the clipboard, or one character. */
const TOKEN = new RegExp(`${ESC}\\[([?\\d;]*)([A-Za-z])|${ESC}\\]52;[^${BEL}]*${BEL}|[^]`, 'gu')

/** The sequences that a line editor needs, and the breaking of long rows. */
export class FakeTerminal {
  columns: number
  rows: number
  /** All that was written. */
  written = ''
  isRaw = false
  #cells: string[][] = [[]]
  #row = 0
  #column = 0
  /** A row is full, and the next character begins another. */
  #isFull = false
  #listener: ((chunk: string) => void) | undefined

  constructor(columns = 20, rows = 10) {
    this.columns = columns
    this.rows = rows
  }

  /** What it shows, without empty rows at its end. */
  get screen(): string[] {
    const rows = this.#cells.map((cells) => cells.join('').trimEnd())
    while (rows.length > 0 && rows.at(-1) === '') rows.pop()
    return rows
  }

  get cursor(): [number, number] {
    return [this.#row, this.#column]
  }

  on(_event: 'data', listener: (chunk: string) => void): void {
    this.#listener = listener
  }

  off(): void {
    this.#listener = undefined
  }

  resume(): void {}

  pause(): void {}

  setRawMode(isRaw: boolean): void {
    this.isRaw = isRaw
  }

  /** As if it was typed. */
  type(text: string): void {
    this.#listener?.(text)
  }

  write(text: string): void {
    this.written += text
    for (const [all, argument = '', letter] of text.matchAll(TOKEN)) {
      if (letter !== undefined) this.#control(letter, argument)
      else if (!all.startsWith('\x1b')) this.#put(all)
    }
  }

  #control(letter: string, argument: string): void {
    const count = Number(argument || 1)
    this.#isFull = false
    if (letter === 'A') this.#row = Math.max(0, this.#row - count)
    if (letter === 'B') this.#row = Math.min(this.#cells.length - 1, this.#row + count)
    if (letter === 'C') this.#column = Math.min(this.columns - 1, this.#column + count)
    if (letter === 'D') this.#column = Math.max(0, this.#column - count)
    if (letter === 'H') [this.#row, this.#column] = [0, 0]
    if (letter === 'K') this.#line().length = argument === '2' ? 0 : this.#column
    if (letter !== 'J') return
    if (argument === '2') this.#cells = [[]]
    else {
      this.#line().length = Math.min(this.#line().length, this.#column)
      this.#cells.length = this.#row + 1
    }
  }

  #put(character: string): void {
    if (character === '\r') this.#column = 0
    else if (character === '\n') this.#next()
    else {
      if (this.#isFull) this.#next()
      const width = Bun.stringWidth(character)
      const line = this.#line()
      while (line.length < this.#column) line.push(' ')
      line[this.#column] = character
      for (let i = 1; i < width; i++) line[this.#column + i] = ''
      this.#column += width
      this.#isFull = this.#column >= this.columns
      if (this.#isFull) this.#column = this.columns - 1
    }
  }

  #next(): void {
    this.#isFull = false
    this.#row++
    this.#column = 0
    while (this.#cells.length <= this.#row) this.#cells.push([])
  }

  #line(): string[] {
    return (this.#cells[this.#row] ??= [])
  }
}
