// Llama blocks in plain double arithmetic, straight from the definition: what the engine is held
// against.
import { dequantise } from '../../../src/model/formats/dequantise.ts'
import type { Model } from '../../../src/model/types.ts'

type Row = Float64Array

/** Rows (count, hiddenSize) after blocks [start, end), as one sequence from position 0. */
export function referenceBlocks(
  model: Model,
  start: number,
  end: number,
  hidden: Float32Array
): Float64Array {
  const { hiddenSize } = model.config
  let rows: Row[] = Array.from({ length: hidden.length / hiddenSize }, (_, i) =>
    Float64Array.from(hidden.subarray(i * hiddenSize, (i + 1) * hiddenSize))
  )
  for (let block = start; block < end; block++) rows = referenceBlock(model, block, rows)
  const out = new Float64Array(hidden.length)
  for (const [i, row] of rows.entries()) out.set(row, i * hiddenSize)
  return out
}

/** Logits (count, vocabSize) of rows. */
export function referenceHead(model: Model, hidden: Float32Array): Float64Array {
  const { hiddenSize, vocabSize, rmsEps } = model.config
  const gamma = read(model, 'model.norm.weight')
  const table = read(model, 'model.embed_tokens.weight')
  const count = hidden.length / hiddenSize
  const out = new Float64Array(count * vocabSize)
  for (let i = 0; i < count; i++) {
    const row = Float64Array.from(hidden.subarray(i * hiddenSize, (i + 1) * hiddenSize))
    out.set(product(table, normed(row, gamma, rmsEps)), i * vocabSize)
  }
  return out
}

function referenceBlock(model: Model, block: number, rows: Row[]): Row[] {
  const { headCount, kvHeadCount, headDim, rmsEps, ropeTheta } = model.config
  const weight = (part: string): Float32Array => read(model, `model.layers.${block}.${part}.weight`)
  const before = weight('input_layernorm')
  const [wq, wk, wv, wo] = ['q', 'k', 'v', 'o'].map((name) => weight(`self_attn.${name}_proj`))
  const inputs = rows.map((row) => normed(row, before, rmsEps))
  const queries = inputs.map((x, at) => turned(product(wq!, x), at, headDim, ropeTheta))
  const keys = inputs.map((x, at) => turned(product(wk!, x), at, headDim, ropeTheta))
  const values = inputs.map((x) => product(wv!, x))
  const after = weight('post_attention_layernorm')
  const [gate, up, down] = ['gate', 'up', 'down'].map((name) => weight(`mlp.${name}_proj`))
  return rows.map((row, at) => {
    const mixed = new Float64Array(headCount * headDim)
    for (let head = 0; head < headCount; head++) {
      const shared = Math.floor(head / (headCount / kvHeadCount))
      const scores = keys.slice(0, at + 1).map((key) => {
        let sum = 0
        for (let i = 0; i < headDim; i++) {
          sum += queries[at]![head * headDim + i]! * key[shared * headDim + i]!
        }
        return sum / Math.sqrt(headDim)
      })
      const top = Math.max(...scores)
      const powers = scores.map((score) => Math.exp(score - top))
      const total = powers.reduce((sum, power) => sum + power, 0)
      for (const [other, power] of powers.entries()) {
        for (let i = 0; i < headDim; i++) {
          mixed[head * headDim + i]! += (power / total) * values[other]![shared * headDim + i]!
        }
      }
    }
    const middle = added(row, product(wo!, mixed))
    const x = normed(middle, after, rmsEps)
    const [g, u] = [product(gate!, x), product(up!, x)]
    return added(
      middle,
      product(
        down!,
        g.map((value, i) => (value / (1 + Math.exp(-value))) * u[i]!)
      )
    )
  })
}

function read(model: Model, name: string): Float32Array {
  return dequantise(model.tensors.info(name).type, model.tensors.read(name))
}

function product(weight: Float32Array, x: Row): Row {
  const out = new Float64Array(weight.length / x.length)
  for (let row = 0; row < out.length; row++) {
    let sum = 0
    for (let i = 0; i < x.length; i++) sum += weight[row * x.length + i]! * x[i]!
    out[row] = sum
  }
  return out
}

function normed(row: Row, gamma: Float32Array, epsilon: number): Row {
  let sum = 0
  for (const value of row) sum += value * value
  const factor = 1 / Math.sqrt(sum / row.length + epsilon)
  return row.map((value, i) => value * factor * gamma[i]!)
}

function added(a: Row, b: Row): Row {
  return a.map((value, i) => value + b[i]!)
}

/** RoPE over halves of each head. */
function turned(heads: Row, at: number, headDim: number, theta: number): Row {
  const out = heads.slice()
  const half = headDim / 2
  for (let from = 0; from < heads.length; from += headDim) {
    for (let i = 0; i < half; i++) {
      const angle = at * theta ** ((-2 * i) / headDim)
      const [a, b] = [heads[from + i]!, heads[from + half + i]!]
      out[from + i] = a * Math.cos(angle) - b * Math.sin(angle)
      out[from + half + i] = b * Math.cos(angle) + a * Math.sin(angle)
    }
  }
  return out
}
