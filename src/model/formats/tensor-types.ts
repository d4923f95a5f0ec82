// The element types of tensors: values and bytes of a block, and ids in GGUF and safetensors. Knows
// sizes only; dequantise.ts knows what the bytes mean.
import { corrupt } from '../../base/errors.ts'
import type { TensorType } from '../types.ts'

export interface TypeFacts {
  /** Values in a block. */
  readonly blockSize: number
  /** Bytes of a block. */
  readonly blockBytes: number
  /** Id in a GGUF header. */
  readonly ggufId: number
}

export const TYPE_FACTS: Readonly<Record<TensorType, TypeFacts>> = {
  F32: { blockSize: 1, blockBytes: 4, ggufId: 0 },
  F16: { blockSize: 1, blockBytes: 2, ggufId: 1 },
  Q4_0: { blockSize: 32, blockBytes: 18, ggufId: 2 },
  Q4_1: { blockSize: 32, blockBytes: 20, ggufId: 3 },
  Q5_0: { blockSize: 32, blockBytes: 22, ggufId: 6 },
  Q5_1: { blockSize: 32, blockBytes: 24, ggufId: 7 },
  Q8_0: { blockSize: 32, blockBytes: 34, ggufId: 8 },
  Q2_K: { blockSize: 256, blockBytes: 84, ggufId: 10 },
  Q3_K: { blockSize: 256, blockBytes: 110, ggufId: 11 },
  Q4_K: { blockSize: 256, blockBytes: 144, ggufId: 12 },
  Q5_K: { blockSize: 256, blockBytes: 176, ggufId: 13 },
  Q6_K: { blockSize: 256, blockBytes: 210, ggufId: 14 },
  IQ4_NL: { blockSize: 32, blockBytes: 18, ggufId: 20 },
  IQ4_XS: { blockSize: 256, blockBytes: 136, ggufId: 23 },
  BF16: { blockSize: 1, blockBytes: 2, ggufId: 30 },
  MXFP4: { blockSize: 32, blockBytes: 17, ggufId: 39 }
}

const TYPE_BY_GGUF_ID: ReadonlyMap<number, TensorType> = new Map(
  (Object.keys(TYPE_FACTS) as TensorType[]).map((type) => [TYPE_FACTS[type].ggufId, type])
)

/** The type of a GGUF id, or undefined for types that we cannot read (IQ1, IQ2, IQ3 ...). */
export function typeOfGgufId(id: number): TensorType | undefined {
  return TYPE_BY_GGUF_ID.get(id)
}

/** Number of values of a shape. @throws AppError CORRUPT if it is no safe integer. */
export function countOf(shape: readonly number[], name: string): number {
  let count = 1
  for (const dimension of shape) count *= dimension
  if (!Number.isSafeInteger(count)) {
    throw corrupt(`Tensor '${name}' cannot be read: its shape [${shape.join(', ')}] is too large`)
  }
  return count
}

/**
 * Bytes of one row of `columns` values. @throws AppError CORRUPT if it is not a whole number of
 * blocks.
 */
export function rowBytes(type: TensorType, columns: number, name = 'row'): number {
  const { blockSize, blockBytes } = TYPE_FACTS[type]
  if (columns % blockSize !== 0) {
    throw corrupt(
      `Tensor '${name}' cannot be read: ${columns} columns are no multiple of ${type}'s ${blockSize}`
    )
  }
  return (columns / blockSize) * blockBytes
}

/** Bytes of a whole tensor. @throws AppError CORRUPT */
export function sizeOf(type: TensorType, shape: readonly number[], name: string): number {
  const columns = shape.at(-1) ?? 1
  const bytes = (countOf(shape, name) / columns) * rowBytes(type, columns, name)
  if (!Number.isSafeInteger(bytes)) {
    throw corrupt(`Tensor '${name}' cannot be read: ${bytes} bytes are more than a file holds`)
  }
  return bytes
}
