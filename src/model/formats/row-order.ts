// Brings the rows of a tensor from a file's order into the canonical one. Rows move as a whole, so
// any element type works; only a transposition needs values of whole bytes. A bias is a matrix with
// rows of one value.
import { corrupt } from '../../base/errors.ts'
import type { RowOrder } from '../families/facts.ts'

/**
 * `bytes` have `rows` rows.
 * @throws AppError CORRUPT if they cannot be divided that way.
 */
export function orderRows(
  bytes: Uint8Array,
  order: RowOrder,
  size: { rows: number; columns: number }
): Uint8Array {
  switch (order.kind) {
    case 'interleaved':
      return halfSplitRows(bytes, size.rows, order.heads, order.rotary)
    case 'grouped':
      return gatheredRows(bytes, size.rows, order)
    case 'transposed':
      return transposed(bytes, size.rows, size.columns)
    default:
      throw new TypeError(`Unknown order ${JSON.stringify(order)}`)
  }
}

/**
 * Reorders the pairs (2i, 2i+1) of each head's first `rotary` rows to (i, i + half): [half, 2] ->
 * [2, half]. Its other rows stay.
 */
export function halfSplitRows(
  bytes: Uint8Array,
  rows: number,
  heads: number,
  rotary: number = rows / heads
): Uint8Array {
  const rowSize = bytes.byteLength / rows
  const headRows = rows / heads
  const half = rotary / 2
  const isWhole = Number.isInteger(rowSize) && Number.isInteger(headRows) && Number.isInteger(half)
  if (!isWhole || rotary > headRows) {
    throw corrupt(`Rows cannot be reordered: ${rows} rows are no multiple of ${heads} even heads`)
  }
  const out = new Uint8Array(bytes.byteLength)
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < headRows; i++) {
      const to = (head * headRows + i) * rowSize
      const source = i >= rotary ? i : i < half ? 2 * i : 2 * (i - half) + 1
      const from = (head * headRows + source) * rowSize
      out.set(bytes.subarray(from, from + rowSize), to)
    }
  }
  return out
}

/** [group, part] -> [part, group]: all rows of the first part, then all of the second. */
function gatheredRows(
  bytes: Uint8Array,
  rows: number,
  order: { groups: number; rows: readonly number[] }
): Uint8Array {
  const rowSize = bytes.byteLength / rows
  const groupRows = order.rows.reduce((sum, count) => sum + count, 0)
  if (!Number.isInteger(rowSize) || groupRows * order.groups !== rows) {
    throw corrupt(`Rows cannot be reordered: ${rows} are not ${order.groups} times ${groupRows}`)
  }
  const out = new Uint8Array(bytes.byteLength)
  let to = 0
  let before = 0
  for (const count of order.rows) {
    for (let group = 0; group < order.groups; group++) {
      const from = (group * groupRows + before) * rowSize
      out.set(bytes.subarray(from, from + count * rowSize), to)
      to += count * rowSize
    }
    before += count
  }
  return out
}

/** (columns, rows) -> (rows, columns). */
function transposed(bytes: Uint8Array, rows: number, columns: number): Uint8Array {
  const width = bytes.byteLength / (rows * columns)
  if (width !== 2 && width !== 4) {
    throw corrupt(`A tensor cannot be transposed: its values have ${width} bytes`)
  }
  const Values = width === 2 ? Uint16Array : Uint32Array
  // Copied, because the bytes may be unaligned.
  const from = new Values(bytes.slice().buffer)
  const out = new Values(rows * columns)
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      out[row * columns + column] = from[column * rows + row] ?? 0
    }
  }
  return new Uint8Array(out.buffer)
}
