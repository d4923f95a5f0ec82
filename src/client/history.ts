// What one span was sent, position by position, as it went over the wire: enough to send it again.
// Knows no peers; session.ts replays it to whoever takes over the span.
import { internal } from '../base/errors.ts'
import type { WireDtype, WireTensor } from '../wire/types.ts'

/** A growing table of encoded rows; row i is the input at position i. */
export class History {
  readonly columns: number
  readonly dtype: WireDtype
  #rowBytes: number
  #bytes = new Uint8Array(0)
  #length = 0

  constructor(columns: number, dtype: WireDtype) {
    this.columns = columns
    this.dtype = dtype
    this.#rowBytes = 0
  }

  /** Positions held. */
  get length(): number {
    return this.#length
  }

  get sizeBytes(): number {
    return this.#length * this.#rowBytes
  }

  /** Writes rows at `start`, forgetting what stood there and after. */
  write(start: number, tensor: WireTensor): void {
    if (start > this.#length) {
      throw internal(`History cannot skip positions: ${start} is over its length ${this.#length}`)
    }
    if (tensor.columns !== this.columns || tensor.dtype !== this.dtype) {
      throw internal(`History of ${this.dtype} cannot take ${tensor.dtype} of ${tensor.columns}`)
    }
    this.#rowBytes = tensor.data.byteLength / tensor.rows
    const end = (start + tensor.rows) * this.#rowBytes
    if (end > this.#bytes.byteLength) this.#grow(end)
    this.#bytes.set(tensor.data, start * this.#rowBytes)
    this.#length = start + tensor.rows
  }

  /** Rows [start, start + rows); the view is valid until the next write. */
  read(start: number, rows: number): WireTensor {
    if (start + rows > this.#length) {
      throw internal(`History has ${this.#length} positions: ${start}+${rows} were asked for`)
    }
    const data = this.#bytes.subarray(start * this.#rowBytes, (start + rows) * this.#rowBytes)
    return { dtype: this.dtype, rows, columns: this.columns, data }
  }

  truncate(length: number): void {
    if (length < this.#length) this.#length = length
  }

  #grow(least: number): void {
    const bytes = new Uint8Array(Math.max(least, this.#bytes.byteLength * 2, 64 * 1024))
    bytes.set(this.#bytes.subarray(0, this.#length * this.#rowBytes))
    this.#bytes = bytes
  }
}
