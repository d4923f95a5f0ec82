// Lines of a stream of bytes, with their numbers.
import { readSync } from 'node:fs'
import { badInput } from '../../base/errors.ts'

export interface TextLine {
  /** From 1 on. */
  readonly number: number
  readonly text: string
}

/** A longer line is refused: no model takes so much. */
const MOST_LENGTH = 16 * 2 ** 20
const CHUNK_BYTES = 64 * 2 ** 10

/** Lines that are not blank. @throws AppError BAD_INPUT for a line that is too long, or no UTF-8 */
export async function* textLines(
  chunks: AsyncIterable<Uint8Array | string>
): AsyncGenerator<TextLine, void> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let rest = ''
  let number = 0
  for await (const chunk of chunks) {
    rest += typeof chunk === 'string' ? chunk : decoded(decoder, chunk, number + 1)
    const lines = rest.split('\n')
    rest = lines.pop() ?? ''
    for (const text of lines) {
      number++
      if (text.trim() !== '') yield { number, text }
    }
    if (rest.length > MOST_LENGTH) {
      throw badInput(`Line ${number + 1} cannot be read: it is over 16 MiB long`)
    }
  }
  rest += decoded(decoder, undefined, number + 1)
  if (rest.trim() !== '') yield { number: number + 1, text: rest }
}

function decoded(decoder: TextDecoder, chunk: Uint8Array | undefined, number: number): string {
  try {
    return chunk ? decoder.decode(chunk, { stream: true }) : decoder.decode()
  } catch {
    throw badInput(`Line ${number} or one behind it cannot be read: it is not UTF-8`, {
      hint: 'Convert the text first, e.g. with iconv'
    })
  }
}

/** What an open file holds from where it stands. */
export async function* openFileChunks(descriptor: number): AsyncGenerator<Uint8Array, void> {
  for (;;) {
    const buffer = new Uint8Array(CHUNK_BYTES)
    const length = readSync(descriptor, buffer, 0, buffer.byteLength, null)
    if (length === 0) return
    yield buffer.subarray(0, length)
  }
}
