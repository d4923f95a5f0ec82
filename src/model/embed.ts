// Token ids to rows of the embedding matrix, dequantised one by one from the mapped file.
import { badInput } from '../base/errors.ts'
import { dequantise } from './dequantise.ts'
import type { Model } from './types.ts'

/**
 * The embedding of `ids`: (ids.length, hiddenSize).
 * @throws AppError BAD_INPUT for an id that the model does not have
 */
export function embedTokens(model: Model, ids: readonly number[]): Float32Array {
  const { hiddenSize, vocabSize } = model.config
  for (const id of ids) {
    if (!Number.isInteger(id) || id < 0 || id >= vocabSize) {
      throw badInput(`Token ${id} cannot be embedded: the model has ${vocabSize} tokens`)
    }
  }
  const name = 'model.embed_tokens.weight'
  const { type } = model.tensors.info(name)
  const out = new Float32Array(ids.length * hiddenSize)
  for (const [row, id] of ids.entries()) {
    dequantise(type, model.tensors.readRows(name, id, 1), out, row * hiddenSize)
  }
  return out
}
