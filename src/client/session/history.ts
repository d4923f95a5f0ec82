// What one span was sent, by position, in the type in which it travelled: enough to send it again.
// Knows no peers; pipeline.ts replays it to a server that takes over the span.
import { internal } from '../../base/errors.ts'
import { decodeTensor, encodeTensor } from '../../wire/tensor.ts'
import type { WireDtype, WireTensor } from '../../wire/types.ts'

/** Rows that are converted at a time. */
const CONVERT_ROWS = 256

/**
 * A growing table of encoded rows; row i is the input at position i. Its beginning may be missing.
 */
export class History {
  readonly columns: number
  readonly dtype: WireDtype
  #rowBytes: number
  #bytes = new Uint8Array(0)
  #from = 0
  #length = 0

  constructor(columns: number, dtype: WireDtype) {
    this.columns = columns
    this.dtype = dtype
    this.#rowBytes = 0
  }

  /**
   * The first position it holds. Earlier ones ran in an earlier session, whose server kept their
   * KV.
   */
  get from(): number {
    return this.#from
  }

  /** End of the positions it holds. */
  get length(): number {
    return this.#length
  }

  /**
   * Writes rows at `start` and drops everything after them; if that leaves a gap, also everything
   * before.
   */
  write(start: number, tensor: WireTensor): void {
    if (tensor.columns !== this.columns || tensor.dtype !== this.dtype) {
      throw internal(`History of ${this.dtype} cannot take ${tensor.dtype} of ${tensor.columns}`)
    }
    this.#rowBytes = tensor.data.byteLength / tensor.rows
    if (start > this.#length || start < this.#from) this.#from = this.#length = start
    const at = (start - this.#from) * this.#rowBytes
    const end = at + tensor.rows * this.#rowBytes
    if (end > this.#bytes.byteLength) this.#grow(end, at)
    this.#bytes.set(tensor.data, at)
    this.#length = start + tensor.rows
  }

  /** Whether rows [start, end) are here. */
  holds(start: number, end: number): boolean {
    return start >= this.#from && end <= this.#length
  }

  /** Rows [start, start + rows); the view is valid until the next write. */
  read(start: number, rows: number): WireTensor {
    if (start < this.#from || start + rows > this.#length) {
      const held = `${this.#from} to ${this.#length}`
      throw internal(`History has positions ${held}: ${start}+${rows} were asked for`)
    }
    const at = (start - this.#from) * this.#rowBytes
    const data = this.#bytes.subarray(at, at + rows * this.#rowBytes)
    return { dtype: this.dtype, rows, columns: this.columns, data }
  }

  truncate(length: number): void {
    if (length < this.#length) this.#length = length
    if (length < this.#from) this.#from = length
  }

  /** The same rows in another type, as far as they are held. @throws AppError UNSUPPORTED */
  as(dtype: WireDtype): History {
    const other = new History(this.columns, dtype)
    const [from, rows] = [this.#from, this.#length - this.#from]
    for (let at = 0; at < rows; at += CONVERT_ROWS) {
      const count = Math.min(CONVERT_ROWS, rows - at)
      const values = decodeTensor(this.read(from + at, count))
      other.write(from + at, encodeTensor(values, count, this.columns, dtype))
    }
    return other
  }

  #grow(least: number, kept: number): void {
    const bytes = new Uint8Array(Math.max(least, this.#bytes.byteLength * 2, 64 * 1024))
    bytes.set(this.#bytes.subarray(0, kept))
    this.#bytes = bytes
  }
}
