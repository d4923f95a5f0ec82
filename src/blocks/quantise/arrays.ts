// The input and output of quantisation: a matrix's rows as in the file, and arrays of integers.
import type { TensorType } from '../../model/types.ts'

/** A tensor's rows as they are in the model's file. */
export interface MatrixSource {
  readonly type: TensorType
  readonly bytes: Uint8Array
  readonly rows: number
  readonly columns: number
}

/** Arrays of one matrix; several sources fill them from top to bottom. */
export interface BlockArrays {
  /** (rows, blocks, block * bits / 8) */
  readonly values: Uint8Array
  /** (rows, blocks) */
  readonly scales: Float32Array
  /** (rows, blocks), empty if the form has none */
  readonly offsets: Float32Array
}
