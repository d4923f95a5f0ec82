// A matrix before and after: rows as a file has them, and the arrays of integers that they become.
import type { TensorType } from '../../model/types.ts'

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
