// Lines of a stream that is no terminal, or of a terminal whose cursor cannot be moved (TERM=dumb).
import { cancelled } from '../../base/errors.ts'
import { goesOn, plainText, type LineSource, type Read } from './line-source.ts'

export interface PlainLinesOptions {
  input: NodeJS.ReadableStream
  /** Shows the prompt. */
  write: (text: string) => void
}

export class PlainLines implements LineSource {
  onstop: (() => void) | undefined
  readonly #options: PlainLinesOptions
  readonly #lines: string[] = []
  readonly #decoder = new TextDecoder()
  #rest = ''
  #hasEnded = false
  #wake = (): void => {}

  constructor(options: PlainLinesOptions) {
    this.#options = options
    const { input } = options
    input.on('data', this.#ondata)
    input.on('end', this.#onend)
    input.on('error', this.#onend)
  }

  async read(signal: AbortSignal): Promise<Read> {
    const { write } = this.#options
    write('> ')
    let text = ''
    for (let isFirst = true; ; isFirst = false) {
      const line = await this.#line(signal)
      if (line === undefined) {
        if (text === '') {
          // What comes next, the shell's prompt often, begins a line of its own.
          write('\n')
          return { kind: 'end' }
        }
        return { kind: 'line', text: plainText(text), isPasted: false }
      }
      text = isFirst ? line : `${text}\n${line}`
      if (!goesOn(text)) return { kind: 'line', text: plainText(text), isPasted: false }
      write('. ')
    }
  }

  above(text: string): boolean {
    this.#options.write(text)
    return true
  }

  close(): void {
    const { input } = this.#options
    input.off('data', this.#ondata)
    input.off('end', this.#onend)
    input.off('error', this.#onend)
    input.pause()
  }

  async #line(signal: AbortSignal): Promise<string | undefined> {
    while (this.#lines.length === 0 && !this.#hasEnded) {
      if (signal.aborted) throw cancelled('The conversation was ended')
      const { promise, resolve } = Promise.withResolvers<void>()
      const wake = (): void => resolve()
      this.#wake = wake
      signal.addEventListener('abort', wake, { once: true })
      await promise
      signal.removeEventListener('abort', wake)
    }
    return this.#lines.shift()
  }

  readonly #ondata = (chunk: Uint8Array | string): void => {
    const text = typeof chunk === 'string' ? chunk : this.#decoder.decode(chunk, { stream: true })
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() ?? ''
    this.#lines.push(...lines.map((line) => line.replace(/\r$/, '')))
    this.#wake()
  }

  readonly #onend = (): void => {
    if (this.#rest !== '') this.#lines.push(this.#rest)
    this.#rest = ''
    this.#hasEnded = true
    this.#wake()
  }
}
