// A text that is being edited, and the cursor in it. Knows no keys and no screen.

const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' })

export class Line {
  #text = ''
  /** In code units, always between two graphemes. */
  #at = 0
  /** The text that was cut last. */
  #cut = ''

  get text(): string {
    return this.#text
  }

  get at(): number {
    return this.#at
  }

  /** Replaces the text; the cursor is at its end. */
  set(text: string): void {
    this.#text = text
    this.#at = text.length
  }

  insert(text: string): void {
    this.#text = this.#text.slice(0, this.#at) + text + this.#text.slice(this.#at)
    this.#at += text.length
  }

  left(): void {
    this.#at = this.#before()
  }

  right(): void {
    this.#at = this.#after()
  }

  home(): void {
    this.#at = this.#text.lastIndexOf('\n', this.#at - 1) + 1
  }

  end(): void {
    const end = this.#text.indexOf('\n', this.#at)
    this.#at = end < 0 ? this.#text.length : end
  }

  /** False if the cursor is in the first line. */
  up(): boolean {
    const start = this.#text.lastIndexOf('\n', this.#at - 1)
    if (start < 0 || this.#at === 0) return false
    const column = this.#at - start - 1
    const above = this.#text.lastIndexOf('\n', start - 1) + 1
    this.#at = start === 0 ? 0 : Math.min(above + column, start)
    this.#snap()
    return true
  }

  /** False if the cursor is in the last line. */
  down(): boolean {
    const end = this.#text.indexOf('\n', this.#at)
    if (end < 0) return false
    const column = this.#at - (this.#text.lastIndexOf('\n', this.#at - 1) + 1)
    const next = this.#text.indexOf('\n', end + 1)
    this.#at = Math.min(end + 1 + column, next < 0 ? this.#text.length : next)
    this.#snap()
    return true
  }

  wordLeft(): void {
    this.#at = this.#wordBefore()
  }

  wordRight(): void {
    this.#at = this.#wordAfter()
  }

  backspace(): void {
    this.#remove(this.#before(), this.#at)
  }

  delete(): void {
    this.#remove(this.#at, this.#after())
  }

  killEnd(): void {
    const end = this.#text.indexOf('\n', this.#at)
    // At a line's end the next line is joined to it.
    this.#kill(this.#at, end < 0 ? this.#text.length : Math.max(end, this.#at + 1))
  }

  killStart(): void {
    this.#kill(this.#text.lastIndexOf('\n', this.#at - 1) + 1, this.#at)
  }

  killWordLeft(): void {
    this.#kill(this.#wordBefore(), this.#at)
  }

  killWordRight(): void {
    this.#kill(this.#at, this.#wordAfter())
  }

  yank(): void {
    this.insert(this.#cut)
  }

  #kill(from: number, to: number): void {
    if (to > from) this.#cut = this.#text.slice(from, to)
    this.#remove(from, to)
  }

  #remove(from: number, to: number): void {
    this.#text = this.#text.slice(0, from) + this.#text.slice(to)
    this.#at = from
  }

  #before(): number {
    let at = 0
    for (const { index, segment } of graphemes.segment(this.#text.slice(0, this.#at))) {
      at = index
      if (index + segment.length >= this.#at) break
    }
    return at
  }

  #after(): number {
    const [first] = graphemes.segment(this.#text.slice(this.#at))
    return this.#at + (first?.segment.length ?? 0)
  }

  #wordBefore(): number {
    return /[\p{L}\p{N}_]*[^\p{L}\p{N}_]*$/u.exec(this.#text.slice(0, this.#at))?.index ?? 0
  }

  #wordAfter(): number {
    const [word = ''] = /^[^\p{L}\p{N}_]*[\p{L}\p{N}_]*/u.exec(this.#text.slice(this.#at)) ?? []
    return this.#at + word.length
  }

  /** Moves the cursor to the start of the grapheme that it is in. */
  #snap(): void {
    for (const { index, segment } of graphemes.segment(this.#text)) {
      if (index + segment.length <= this.#at) continue
      this.#at = index
      return
    }
  }
}
