// The parts of a prompt: words of the command line, and text on stdin.
import { readSync } from 'node:fs'
import { type Clock, systemClock } from '../../base/clock.ts'
import { badInput, cancelled } from '../../base/errors.ts'
import { fileError } from '../../base/files/file-error.ts'

// A longer text is refused; the context of any model is far smaller.
const MAX_STDIN_BYTES = 64 * 1024 * 1024
const CHUNK_BYTES = 256 * 1024
/** After this time without input the user is told that it is waited for. */
const SILENCE_MS = 1000

export interface PromptParts {
  /** From the command line; undefined if there were none. */
  words: string | undefined
  /** From a pipe or file; undefined on a terminal. */
  piped: string | undefined
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
export function readOpenFile(descriptor: number): string {
  const text = new PipedText()
  const buffer = new Uint8Array(CHUNK_BYTES)
  try {
    for (;;) {
      const length = readSync(descriptor, buffer, 0, buffer.byteLength, null)
      if (length === 0) return text.end()
      text.push(buffer.subarray(0, length))
    }
  } catch (error) {
    throw fileError('The text on stdin cannot be read', error)
  }
}

/** Decodes UTF-8 that arrives in pieces. */
class PipedText {
  readonly #decoder = new TextDecoder('utf-8', { fatal: true })
  #text = ''
  #sizeBytes = 0

  push(chunk: Uint8Array | string): void {
    const bytes = typeof chunk === 'string' ? new TextEncoder().encode(chunk) : chunk
    this.#sizeBytes += bytes.byteLength
    if (this.#sizeBytes > MAX_STDIN_BYTES) {
      throw badInput('The text on stdin is too long: over 64 MiB')
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
      throw badInput('The text on stdin cannot be read: it is not UTF-8', {
        hint: 'Convert it first, e.g. with iconv'
      })
    }
  }
}

/**
 * Joins both parts: the words first, then the piped text, without the newline that echo and editors
 * add at the end.
 */
export function joinPrompt(parts: PromptParts): string | undefined {
  const piped = parts.piped?.replace(/\r?\n$/, '')
  if (parts.words === undefined) return piped
  if (!piped) return parts.words
  return `${parts.words}\n\n${piped}`
}
