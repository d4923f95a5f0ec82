// Long strings of bytes as pieces of messages, both ways: training calls and their answers. Knows
// no message and no link.
import { protocolError } from '../base/errors.ts'

/** Room for one string, taken when its first piece tells its length. */
export class Pieces {
  readonly #maxBytes: number
  #bytes: Uint8Array | undefined
  #filled = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /**
   * Adds a piece; the whole once it is there, else undefined.
   * @throws AppError PROTOCOL for a piece that does not go on from those before, or too long a
   * whole
   */
  add({
    data,
    left
  }: {
    readonly data: Uint8Array
    readonly left: number
  }): Uint8Array | undefined {
    const total = this.#filled + data.byteLength + left
    const isBad = this.#bytes === undefined ? total > this.#maxBytes : total !== this.#bytes.length
    if (isBad || (data.byteLength === 0 && left > 0)) {
      throw protocolError('A piece is refused: it does not go on from those before it')
    }
    this.#bytes ??= new Uint8Array(total)
    this.#bytes.set(data, this.#filled)
    this.#filled += data.byteLength
    return left === 0 ? this.#bytes : undefined
  }
}

export interface Piece {
  readonly data: Uint8Array
  /** Bytes behind it. */
  readonly left: number
}

/** Pieces of `bytes`; one without bytes when there are none. */
export function* piecesOf(bytes: Uint8Array, pieceBytes: number): Generator<Piece> {
  let at = 0
  do {
    const data = bytes.subarray(at, at + pieceBytes)
    at += data.byteLength
    yield { data, left: bytes.byteLength - at }
  } while (at < bytes.byteLength)
}

/** Floats of a message as an array of their own. */
export function floatsOf(bytes: Uint8Array): Float32Array {
  return new Float32Array(bytes.slice().buffer)
}

/** An array's bytes, without a copy. */
export function bytesOfFloats(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
}
