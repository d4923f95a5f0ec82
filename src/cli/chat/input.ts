// The parts of a prompt: words of the command line, and text on stdin.
import { closeSync, openSync, readSync } from 'node:fs'
import { basename } from 'node:path'
import { type Clock, systemClock } from '../../base/clock.ts'
import { badInput, cancelled, notFound } from '../../base/errors.ts'
import { fileError } from '../../base/files/file-error.ts'

// A longer text is refused; the context of any model is far smaller.
const MAX_STDIN_BYTES = 64 * 1024 * 1024
const CHUNK_BYTES = 256 * 1024
const STDIN = 'on stdin'
/** After this time without input the user is told that it is waited for. */
const SILENCE_MS = 1000

export interface NamedText {
  readonly name: string
  readonly text: string
}

export interface PromptParts {
  /** From the command line; undefined if there were none. */
  words: string | undefined
  /** From a pipe or file; undefined on a terminal. */
  piped: string | undefined
  /** Of --file, in order. */
  files?: readonly NamedText[]
}

export interface ReadOptions {
  signal?: AbortSignal
  /** Called once if nothing has come for a second. */
  onsilence?: () => void
  clock?: Clock
}

/**
 * Reads a stream of text to its end. @throws AppError BAD_INPUT, or CANCELLED when the signal fires
 */
export async function readPiped(
  stdin: AsyncIterable<Uint8Array | string>,
  options: ReadOptions = {}
): Promise<string> {
  const { signal, onsilence, clock = systemClock } = options
  const stopTimer = clock.after(SILENCE_MS, () => onsilence?.(), true)
  const aborted = Promise.withResolvers<never>()
  const onabort = (): void => aborted.reject(cancelled('Reading stdin was cancelled'))
  // The loser of the race is ignored.
  aborted.promise.catch(() => {})
  signal?.addEventListener('abort', onabort, { once: true })
  if (signal?.aborted) onabort()
  const text = new PipedText()
  const read = async (): Promise<string> => {
    for await (const chunk of stdin) {
      stopTimer()
      text.push(chunk)
    }
    return text.end()
  }
  try {
    return await Promise.race([read(), aborted.promise])
  } finally {
    stopTimer()
    signal?.removeEventListener('abort', onabort)
  }
}

/**
 * Reads a file from an open descriptor, from its current position. @throws AppError BAD_INPUT,
 * UNAVAILABLE
 */
export function readOpenFile(descriptor: number, name: string = STDIN): string {
  const text = new PipedText(name)
  const buffer = new Uint8Array(CHUNK_BYTES)
  try {
    for (;;) {
      const length = readSync(descriptor, buffer, 0, buffer.byteLength, null)
      if (length === 0) return text.end()
      text.push(buffer.subarray(0, length))
    }
  } catch (error) {
    throw fileError(`The text ${name} cannot be read`, error)
  }
}

/** The texts of --file. @throws AppError NOT_FOUND, DENIED, BAD_INPUT, UNAVAILABLE */
export function readTexts(paths: readonly string[]): NamedText[] {
  return paths.map((path) => {
    let descriptor: number
    try {
      descriptor = openSync(path, 'r')
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOENT') throw notFound(`There is no file '${path}'`)
      throw fileError(`The text in '${path}' cannot be read`, error)
    }
    try {
      return { name: basename(path), text: readOpenFile(descriptor, `in '${path}'`) }
    } finally {
      closeSync(descriptor)
    }
  })
}

/** Decodes UTF-8 that arrives in pieces. */
class PipedText {
  readonly #name: string
  readonly #decoder = new TextDecoder('utf-8', { fatal: true })
  #text = ''
  #sizeBytes = 0

  constructor(name: string = STDIN) {
    this.#name = name
  }

  push(chunk: Uint8Array | string): void {
    const bytes = typeof chunk === 'string' ? new TextEncoder().encode(chunk) : chunk
    this.#sizeBytes += bytes.byteLength
    if (this.#sizeBytes > MAX_STDIN_BYTES) {
      throw badInput(`The text ${this.#name} is too long: over 64 MiB`)
    }
    this.#text += this.#decode(bytes)
  }

  end(): string {
    return this.#text + this.#decode()
  }

  #decode(bytes?: Uint8Array): string {
    try {
      return bytes ? this.#decoder.decode(bytes, { stream: true }) : this.#decoder.decode()
    } catch {
      throw badInput(`The text ${this.#name} cannot be read: it is not UTF-8`, {
        hint: 'Convert it first, e.g. with iconv'
      })
    }
  }
}

/**
 * Joins the parts: the words first, then the files and the piped text, without the newline that
 * echo and editors add at the end. Of several texts each stands under its name.
 */
export function joinPrompt({ words, piped, files = [] }: PromptParts): string | undefined {
  const texts = [...files]
  if (piped !== undefined && (piped !== '' || files.length === 0)) {
    texts.push({ name: 'stdin', text: piped })
  }
  const bare = texts.map(({ name, text }) => ({ name, text: text.replace(/\r?\n$/, '') }))
  if (bare.length === 0) return words
  const [only] = bare
  const behind =
    bare.length === 1
      ? (only?.text ?? '')
      : bare.map(({ name, text }) => `--- ${name} ---\n${text}`).join('\n\n')
  if (words === undefined) return behind
  return behind === '' ? words : `${words}\n\n${behind}`
}
