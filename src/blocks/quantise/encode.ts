// Fills a matrix form from a tensor's bytes: floats unchanged, integers regrouped, or floats
// rounded. Knows no graph; file-blocks.ts reads GGUF's block types, round.ts rounds.
import { dequantise } from '../../model/formats/dequantise.ts'
import { rowBytes } from '../../model/formats/tensor-types.ts'
import type { BlockArrays, MatrixSource } from './arrays.ts'
import { readFileBlocks } from './file-blocks.ts'
import type { BlockForm, MatrixForm } from './form.ts'
import { roundBlocks } from './round.ts'

/** Rows that are dequantised at a time; limits the memory for floats. */
const ROWS_AT_A_TIME = 64

/** A band of columns, and which of its `height` rows come from the source. */
export interface Band {
  /** Columns [from, to); both are multiples of the source's block size. */
  from: number
  to: number
  /** Row of the band at which the source begins. */
  first: number
  height: number
  /** Rounds each value to float16. */
  half: boolean
}

/** Floats of scratch memory that both encoders need and that is reused. */
export function scratchFloats(columns: number): number {
  return ROWS_AT_A_TIME * columns
}

/**
 * Writes a band as floats (to - from, height) to `out`: the layout that a plain product takes on
 * every device. `scratch` has at least scratchFloats(to - from) values.
 */
export function encodeFloats(
  source: MatrixSource,
  out: Float32Array,
  band: Band,
  scratch: Float32Array
): void {
  const { type, columns, rows, bytes } = source
  const { from, to, first, height, half } = band
  const width = to - from
  const size = rowBytes(type, columns)
  const start = rowBytes(type, from)
  const length = rowBytes(type, width)
  const floats = scratch.subarray(0, ROWS_AT_A_TIME * width)
  for (let row = 0; row < rows; row += ROWS_AT_A_TIME) {
    const count = Math.min(ROWS_AT_A_TIME, rows - row)
    for (let i = 0; i < count; i++) {
      const at = (row + i) * size + start
      dequantise(type, bytes.subarray(at, at + length), floats, i * width)
    }
    if (half) floats.set(new Float16Array(floats))
    for (let column = 0; column < width; column++) {
      const place = column * height + first + row
      for (let i = 0; i < count; i++) out[place + i] = floats[i * width + column]!
    }
  }
}

/**
 * Writes integers and scales of all rows, from row `first` of `out` on. `scratch` has at least
 * scratchFloats(columns) values; it is used where floats are rounded.
 */
export function encodeBlocks(
  source: MatrixSource,
  form: BlockForm,
  out: BlockArrays,
  first: number,
  scratch: Float32Array = new Float32Array(scratchFloats(source.columns))
): void {
  if (form.from === 'file') {
    readFileBlocks(source, form, out, first)
    return
  }
  const { type, columns, rows, bytes } = source
  const size = rowBytes(type, columns)
  for (let row = 0; row < rows; row += ROWS_AT_A_TIME) {
    const count = Math.min(ROWS_AT_A_TIME, rows - row)
    const floats = scratch.subarray(0, count * columns)
    dequantise(type, bytes.subarray(row * size, (row + count) * size), floats)
    roundBlocks(floats, columns, form, out, first + row)
  }
}

/** Elements that a matrix needs for each array of a form. */
export function blockCounts(
  form: BlockForm,
  rows: number,
  columns: number
): { values: number; scales: number; offsets: number } {
  const count = Math.ceil(columns / form.block)
  return {
    values: (rows * count * form.block * form.bits) / 8,
    scales: rows * count,
    offsets: form.offsets ? rows * count : 0
  }
}

export type { MatrixForm }
