// Numbers with their shape, as programs are given them.
import { badInput } from '../../base/errors.ts'
import { hasOnlyNumbers } from '../../blocks/finite.ts'

/** Floats, row after row. */
export interface Tensor {
  readonly data: Float32Array
  readonly shape: readonly number[]
}

/** A tensor of this shape, its numbers alone, or one number for all of them. */
export type TensorLike = Tensor | Float32Array | readonly number[] | number

/** @throws AppError BAD_INPUT for another shape, or what is no number */
export function numbersOf(given: TensorLike, shape: readonly number[], what: string): Float32Array {
  const length = shape.reduce((all, one) => all * one, 1)
  const data = dataOf(given, length)
  if (data.length !== length) {
    throw badInput(`${what} has ${data.length} numbers: (${shape.join(', ')}) belong`)
  }
  if (!hasOnlyNumbers(data)) throw badInput(`${what} has values that are no numbers`)
  return data
}

function dataOf(given: TensorLike, length: number): Float32Array {
  if (typeof given === 'number') return new Float32Array(length).fill(given)
  if (given instanceof Float32Array) return given
  return 'data' in given ? given.data : Float32Array.from(given)
}
