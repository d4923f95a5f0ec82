// Token ids to the input of the first block: rows of the embedding matrix, dequantised one by one
// from the mapped file, with the family's own steps.
import { badInput } from '../base/errors.ts'
import { dequantise } from './formats/dequantise.ts'
import type { Model } from './types.ts'

const TOKENS = 'model.embed_tokens.weight'
/** Learned positions, (contextLength, hiddenSize). */
const POSITIONS = 'model.embed_positions.weight'
/** A layer norm of the embeddings. */
const NORM = 'model.embed_norm'

/**
 * The embeddings of `ids` from position `start` on: (ids.length, hiddenSize).
 * @throws AppError BAD_INPUT for an id or a position that the model does not have
 */
export function embedTokens(model: Model, ids: readonly number[], start = 0): Float32Array {
  const { vocabSize, contextLength, positions, embeddingScale } = model.config
  for (const id of ids) {
    if (!Number.isInteger(id) || id < 0 || id >= vocabSize) {
      throw badInput(`Token ${id} cannot be embedded: the model has ${vocabSize} tokens`)
    }
  }
  const out = rowsOf(model, TOKENS, ids)
  if (embeddingScale !== undefined) {
    for (const [i, value] of out.entries()) out[i] = value * embeddingScale
  }
  if (positions === 'learned') {
    if (!(Number.isInteger(start) && start >= 0 && start + ids.length <= contextLength)) {
      throw badInput(
        `Tokens cannot be embedded at ${start} to ${start + ids.length}: the model ends at ${contextLength}`
      )
    }
    const at = ids.map((_, i) => start + i)
    for (const [i, value] of rowsOf(model, POSITIONS, at).entries()) out[i] = (out[i] ?? 0) + value
  }
  if (model.tensors.has(`${NORM}.weight`)) normRows(model, out)
  return out
}

function rowsOf(model: Model, name: string, rows: readonly number[]): Float32Array {
  const { hiddenSize } = model.config
  const { type } = model.tensors.info(name)
  const out = new Float32Array(rows.length * hiddenSize)
  for (const [i, row] of rows.entries()) {
    dequantise(type, model.tensors.readRows(name, row, 1), out, i * hiddenSize)
  }
  return out
}

/** Layer norm: each row minus its mean, divided by its deviation, times a weight, plus a bias. */
function normRows(model: Model, rows: Float32Array): void {
  const { hiddenSize, rmsEps } = model.config
  const vector = (suffix: string): Float32Array => {
    const name = `${NORM}.${suffix}`
    return dequantise(model.tensors.info(name).type, model.tensors.read(name))
  }
  const [gamma, beta] = [vector('weight'), vector('bias')]
  for (let at = 0; at < rows.length; at += hiddenSize) {
    const row = rows.subarray(at, at + hiddenSize)
    const mean = row.reduce((sum, value) => sum + value, 0) / hiddenSize
    const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / hiddenSize
    const scale = 1 / Math.sqrt(variance + rmsEps)
    for (const [i, value] of row.entries()) {
      row[i] = (value - mean) * scale * (gamma[i] ?? 1) + (beta[i] ?? 0)
    }
  }
}
