// How many blocks of a model fit in memory: weights as they will be held, KV and working room.
import { AppError } from '../base/errors.ts'
import { formatBytes } from '../base/bytes.ts'
import type { Quant } from '../blocks/types.ts'
import type { Model } from '../model/types.ts'

/** Bits a weight as the engine holds it, scales included; native and f16 are held as the file or f32. */
const BITS: Readonly<Record<Quant, number | undefined>> = {
  native: undefined,
  f32: 32,
  f16: 32,
  int8: 9,
  int4: 5
}

/** KV that a block should have room for before another block is taken, in tokens. */
const KV_TOKENS = 4096

export interface BlockNeed {
  readonly weightBytes: number
  readonly kvBytes: number
}

/** What one block of a model needs. */
export function blockNeed(model: Model, quant: Quant): BlockNeed {
  const { blockCount, kvHeadCount, headDim, contextLength } = model.config
  let sizeBytes = 0
  let values = 0
  for (const info of model.tensors.list()) {
    if (!info.name.startsWith('model.layers.')) continue
    sizeBytes += info.sizeBytes
    values += info.shape.reduce((product, size) => product * size, 1)
  }
  const bits = BITS[quant]
  const total = bits === undefined ? sizeBytes * 1.3 : (values * bits) / 8
  const kvBytes = Math.min(KV_TOKENS, contextLength) * 2 * kvHeadCount * headDim * 4
  return { weightBytes: Math.ceil(total / blockCount), kvBytes }
}

/**
 * How many blocks fit into `freeBytes`.
 * @throws AppError NO_MEMORY with the numbers when not even one does
 */
export function blocksThatFit(model: Model, quant: Quant, freeBytes: number): number {
  const { weightBytes, kvBytes } = blockNeed(model, quant)
  const count = Math.floor(freeBytes / (weightBytes + kvBytes))
  if (count < 1) {
    throw new AppError(
      'NO_MEMORY',
      `Not one block fits: it needs ${formatBytes(weightBytes + kvBytes)}, ${formatBytes(freeBytes)} are free`,
      { hint: 'Use a smaller --quant, or free some memory' }
    )
  }
  return Math.min(count, model.config.blockCount)
}
