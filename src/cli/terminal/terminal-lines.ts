// Lines typed at a terminal: edited, with history, pastes as a whole, and text typed ahead without
// an echo. The terminal stays in raw mode throughout, so that it echoes nothing into an answer.
import { cancelled } from '../../base/errors.ts'
import { type Key, type KeyName, KeyReader } from './keys.ts'
import { Line } from './line.ts'
import { goesOn, plainText, type LineSource, type Read } from './line-source.ts'
import { layOut, Screen } from './screen.ts'

/** The terminal's input. */
export interface TerminalInput {
  on(event: 'data', listener: (chunk: Uint8Array | string) => void): unknown
  off(event: 'data', listener: (chunk: Uint8Array | string) => void): unknown
  resume(): unknown
  pause(): unknown
  setRawMode?(isRaw: boolean): unknown
}

/** The terminal's output. */
export interface TerminalOutput {
  readonly columns?: number | undefined
  readonly rows?: number | undefined
  write(text: string): unknown
}

export interface TerminalLinesOptions {
  input: TerminalInput
  output: TerminalOutput
  /** Earlier questions, the oldest first. */
  history: () => readonly string[]
  /** Words that begin with this text, for the tab key. */
  complete?: (beginning: string) => readonly string[]
  /** Calls `listener` on a new size; returns what stops that. */
  onresize?: (listener: () => void) => () => void
  /** Stops the process until it is continued. */
  suspend?: () => void
}

const PROMPT = '> '
const MORE = '. '
const PASTES_ON = '\x1b[?2004h'
const PASTES_OFF = '\x1b[?2004l'

export class TerminalLines implements LineSource {
  onstop: (() => void) | undefined
  readonly #options: TerminalLinesOptions
  readonly #keys = new KeyReader()
  readonly #screen: Screen
  readonly #line = new Line()
  /** Typed while nobody was reading. */
  readonly #ahead: Key[] = []
  readonly #stopResize: () => void
  #reading: ((read: Read) => void) | undefined
  #isPasted = false
  /** How many texts back in the history; 0: the one being typed. */
  #back = 0
  #draft = ''
  #closed = false

  constructor(options: TerminalLinesOptions) {
    this.#options = options
    const { input, output } = options
    this.#screen = new Screen((text) => output.write(text))
    this.#stopResize = options.onresize?.(() => this.#redraw()) ?? (() => {})
    input.on('data', this.#ondata)
    this.#enter()
    input.resume()
  }

  async read(signal: AbortSignal): Promise<Read> {
    if (signal.aborted || this.#closed) throw cancelled('The conversation was ended')
    const { promise, resolve, reject } = Promise.withResolvers<Read>()
    const onabort = (): void => {
      this.#reading = undefined
      this.#screen.leave()
      reject(cancelled('The conversation was ended'))
    }
    signal.addEventListener('abort', onabort, { once: true })
    this.#reading = resolve
    this.#redraw()
    this.#drain()
    try {
      return await promise
    } finally {
      signal.removeEventListener('abort', onabort)
    }
  }

  above(text: string): boolean {
    if (!this.#reading) return false
    const { output } = this.#options
    this.#screen.erase(output.columns || 80)
    output.write(text)
    this.#redraw()
    return true
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    const { input } = this.#options
    input.off('data', this.#ondata)
    this.#stopResize()
    this.#leave()
    input.pause()
  }

  /** Takes the terminal over; #leave() restores it. */
  #enter(): void {
    this.#options.input.setRawMode?.(true)
    this.#options.output.write(PASTES_ON)
  }

  #leave(): void {
    this.#options.output.write(PASTES_OFF)
    this.#options.input.setRawMode?.(false)
  }

  readonly #ondata = (chunk: Uint8Array | string): void => {
    for (const key of this.#keys.push(chunk)) {
      if (this.#reading) this.#on(key)
      else if (key.kind === 'key' && key.name === 'interrupt' && this.onstop) this.onstop()
      else if (key.kind === 'key' && key.name === 'suspend') this.#suspend()
      else this.#ahead.push(key)
    }
  }

  #drain(): void {
    while (this.#reading && this.#ahead.length > 0) {
      const key = this.#ahead.shift()
      if (key) this.#on(key)
    }
  }

  #on(key: Key): void {
    if (key.kind !== 'key') {
      if (key.kind === 'paste' && key.text.includes('\n')) this.#isPasted = true
      this.#line.insert(key.text)
      this.#redraw()
      return
    }
    if (key.name === 'enter') return this.#enterKey()
    if (key.name === 'interrupt') return this.#interrupt()
    if (key.name === 'end-of-input' && this.#line.text === '') return this.#give({ kind: 'end' })
    if (key.name === 'suspend') return this.#suspend()
    this.#edit(key.name)
    this.#redraw()
  }

  #enterKey(): void {
    const { text } = this.#line
    if (!this.#isPasted && this.#line.at === text.length && goesOn(text)) {
      this.#line.insert('\n')
      this.#redraw()
      return
    }
    this.#line.set(text)
    this.#redraw()
    this.#give({ kind: 'line', text: plainText(text), isPasted: this.#isPasted })
  }

  /** The first one clears what is typed. */
  #interrupt(): void {
    if (this.#line.text === '') return this.#give({ kind: 'interrupt' })
    this.#screen.leave()
    this.#clear()
    this.#redraw()
  }

  #give(read: Read): void {
    this.#screen.leave()
    const reading = this.#reading
    this.#reading = undefined
    this.#clear()
    reading?.(read)
  }

  #clear(): void {
    this.#line.set('')
    this.#isPasted = false
    this.#back = 0
    this.#draft = ''
  }

  #edit(name: KeyName): void {
    const line = this.#line
    switch (name) {
      case 'newline':
        return line.insert('\n')
      case 'tab':
        return this.#complete()
      case 'up':
        return line.up() ? undefined : this.#recall(1)
      case 'down':
        return line.down() ? undefined : this.#recall(-1)
      case 'backspace':
        return line.backspace()
      case 'delete':
      case 'end-of-input':
        return line.delete()
      case 'left':
        return line.left()
      case 'right':
        return line.right()
      case 'home':
        return line.home()
      case 'end':
        return line.end()
      case 'word-left':
        return line.wordLeft()
      case 'word-right':
        return line.wordRight()
      case 'kill-end':
        return line.killEnd()
      case 'kill-start':
        return line.killStart()
      case 'kill-word-left':
        return line.killWordLeft()
      case 'kill-word-right':
        return line.killWordRight()
      case 'yank':
        return line.yank()
      case 'clear-screen':
        this.#options.output.write('\x1b[H\x1b[2J')
        return this.#screen.forget()
      default:
        throw new TypeError(`No key is called '${name}'`)
    }
  }

  #recall(step: 1 | -1): void {
    const history = this.#options.history()
    const back = this.#back + step
    if (back < 0 || back > history.length) return
    if (this.#back === 0) this.#draft = this.#line.text
    this.#back = back
    this.#line.set(back === 0 ? this.#draft : (history.at(-back) ?? ''))
    this.#isPasted = this.#line.text.includes('\n')
  }

  #complete(): void {
    const { text, at } = this.#line
    const words = at === text.length ? (this.#options.complete?.(text) ?? []) : []
    const [only = ''] = words
    if (words.length === 1) this.#line.set(`${only} `)
  }

  #redraw(): void {
    if (!this.#reading) return
    const { columns, rows } = this.#options.output
    const width = columns || 80
    const layout = layOut(this.#line.text, this.#line.at, {
      prompt: PROMPT,
      more: MORE,
      columns: width
    })
    this.#screen.draw(layout, rows || 24, width)
  }

  #suspend(): void {
    const { suspend } = this.#options
    if (!suspend) return
    if (this.#reading) this.#screen.leave()
    this.#leave()
    suspend()
    this.#enter()
    this.#redraw()
  }
}
