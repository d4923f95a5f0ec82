// What hears tokens while they are made, by the names that transformers gives it.
import type { DecodeStream, Tokenizer } from '../model/text/tokenizer.ts'

/** Told of the prompt's ids first, then of each new one. */
export interface Streamer {
  put(ids: readonly number[]): void
  end(): void
}

export interface TextStreamerOptions {
  /** Default false, as in transformers. */
  skip_prompt?: boolean
  skip_special_tokens?: boolean
  /** Told each certain piece of text. Default: writes it to stdout. */
  callback_function?: (text: string) => void
}

/** Writes text as it becomes certain. */
export class TextStreamer implements Streamer {
  readonly #tokenizer: Pick<Tokenizer, 'stream'>
  readonly #options: TextStreamerOptions
  #stream: DecodeStream | undefined
  #isPrompt = true

  constructor(
    tokenizer: Pick<Tokenizer, 'stream'> | { readonly tokenizer: Pick<Tokenizer, 'stream'> },
    options: TextStreamerOptions = {}
  ) {
    this.#tokenizer = 'stream' in tokenizer ? tokenizer : tokenizer.tokenizer
    this.#options = options
  }

  put(ids: readonly number[]): void {
    const { skip_prompt: skips = false, skip_special_tokens: skipSpecial = true } = this.#options
    const isSkipped = this.#isPrompt && skips
    this.#isPrompt = false
    this.#stream ??= this.#tokenizer.stream({ skipSpecial, ...(isSkipped ? { after: ids } : {}) })
    if (isSkipped) return
    for (const id of ids) this.#write(this.#stream.push(id))
  }

  end(): void {
    this.#write(this.#stream?.end() ?? '')
    this.#stream = undefined
    this.#isPrompt = true
  }

  #write(text: string): void {
    if (text === '') return
    const { callback_function: callback } = this.#options
    if (callback) callback(text)
    else process.stdout.write(text)
  }
}
