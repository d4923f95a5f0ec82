// A new adapter: as peft begins one, with random A and a B of zeros, so that it changes nothing at
// first. The same seed gives the same numbers.
import { seededRandom } from '../../base/random.ts'
import { targetParts, type AdapterShape } from '../../blocks/train/adapter-shape.ts'
import type { ModelConfig } from '../../model/types.ts'

/** Numbers of all blocks, as adapter-shape.ts says how they lie. @throws AppError */
export function newAdapter(config: ModelConfig, shape: AdapterShape, seed: number): Float32Array {
  const random = seededRandom(seed)
  const parts = targetParts(config, shape)
  const values: number[] = []
  for (let block = 0; block < config.blockCount; block++) {
    for (const { inputs, outputs } of parts) {
      const bound = 1 / Math.sqrt(inputs)
      for (let i = 0; i < shape.rank * inputs; i++) values.push((2 * random.next() - 1) * bound)
      for (let i = 0; i < outputs * shape.rank; i++) values.push(0)
    }
  }
  return Float32Array.from(values)
}
