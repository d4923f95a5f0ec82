// Fills a matrix form from a tensor's bytes: floats as they are, integers regrouped, or floats rounded.
// Knows no graph; file-blocks.ts reads the GGUF block types, round.ts rounds.
import { dequantise } from '../../model/dequantise.ts'
import { rowBytes } from '../../model/tensor-types.ts'
import type { TensorType } from '../../model/types.ts'
import { readFileBlocks } from './file-blocks.ts'
import type { BlockForm, MatrixForm } from './form.ts'
import { roundBlocks } from './round.ts'

/** A tensor's rows as they lie in the model's file. */
export interface MatrixSource {
  readonly type: TensorType
  readonly bytes: Uint8Array
  readonly rows: number
  readonly columns: number
}

/** Arrays of one matrix; several sources fill them from above to below. */
export interface BlockArrays {
  /** (rows, blocks, block * bits / 8) */
  readonly values: Uint8Array
  /** (rows, blocks) */
  readonly scales: Float32Array
  /** (rows, blocks), empty when the form has none */
  readonly offsets: Float32Array
}

/** Rows that are dequantised at a time: bounds the floats in memory. */
const ROWS_AT_A_TIME = 64

/**
 * Floats of all rows as columns of `out` (columns, `height`) from column `first` on: a plain product takes
 * them so on every device. `half` rounds each to float16.
 */
export function encodeFloats(
  source: MatrixSource,
  out: Float32Array,
  place: { first: number; height: number; half: boolean }
): void {
  const { type, columns, rows, bytes } = source
  const { first, height, half } = place
  const size = rowBytes(type, columns)
  const floats = new Float32Array(ROWS_AT_A_TIME * columns)
  for (let row = 0; row < rows; row += ROWS_AT_A_TIME) {
    const count = Math.min(ROWS_AT_A_TIME, rows - row)
    dequantise(type, bytes.subarray(row * size, (row + count) * size), floats)
    if (half) floats.set(new Float16Array(floats))
    for (let column = 0; column < columns; column++) {
      const to = column * height + first + row
      for (let i = 0; i < count; i++) out[to + i] = floats[i * columns + column]!
    }
  }
}

/** Integers and scales of all rows, from row `first` of `out`. */
export function encodeBlocks(
  source: MatrixSource,
  form: BlockForm,
  out: BlockArrays,
  first: number
): void {
  if (form.from === 'file') {
    readFileBlocks(source, form, out, first)
    return
  }
  const { type, columns, rows, bytes } = source
  const size = rowBytes(type, columns)
  for (let row = 0; row < rows; row += ROWS_AT_A_TIME) {
    const count = Math.min(ROWS_AT_A_TIME, rows - row)
    const floats = dequantise(type, bytes.subarray(row * size, (row + count) * size))
    roundBlocks(floats, columns, form, out, first + row)
  }
}

/** Values of a form that a matrix needs, in elements. */
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
