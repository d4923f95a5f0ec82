// Matrices and vectors that many families have under the same names.
import type { ModelConfig } from '../../model/types.ts'
import type { MatrixGroup, VectorPart } from './family.ts'

/** One matrix by itself. */
export function matrix(name: string, part: string, rows: number, columns: number): MatrixGroup {
  return { name, parts: [{ part, rows }], columns }
}

/** `qkv` and `out` of attention with matrices for queries, keys and values. */
export function attentionMatrices(config: ModelConfig): MatrixGroup[] {
  const { hiddenSize, headCount, kvHeadCount, headDim } = config
  return [
    {
      name: 'qkv',
      parts: [
        { part: 'self_attn.q_proj', rows: headCount * headDim },
        { part: 'self_attn.k_proj', rows: kvHeadCount * headDim },
        { part: 'self_attn.v_proj', rows: kvHeadCount * headDim }
      ],
      columns: hiddenSize
    },
    matrix('out', 'self_attn.o_proj', hiddenSize, headCount * headDim)
  ]
}

/** `gateUp` and `down` of a gated MLP. */
export function gatedMatrices(config: ModelConfig): MatrixGroup[] {
  return gated(config, '', 'mlp')
}

function gated(config: ModelConfig, name: string, prefix: string): MatrixGroup[] {
  const { hiddenSize, ffnSize } = config
  return [
    {
      name: `${name}gateUp`,
      parts: [
        { part: `${prefix}.gate_proj`, rows: ffnSize },
        { part: `${prefix}.up_proj`, rows: ffnSize }
      ],
      columns: hiddenSize
    },
    matrix(`${name}down`, `${prefix}.down_proj`, hiddenSize, ffnSize)
  ]
}

/** `router`, and `gateUp` and `down` of each expert. */
export function expertMatrices(config: ModelConfig): MatrixGroup[] {
  const { hiddenSize, expertCount = 0 } = config
  const each = Array.from({ length: expertCount }, (_, expert) =>
    gated(config, `experts.${expert}.`, `mlp.experts.${expert}`).map((group): MatrixGroup => ({
      ...group,
      whole: true
    }))
  )
  return [{ ...matrix('router', 'mlp.gate', expertCount, hiddenSize), exact: true }, ...each.flat()]
}

/** Of attention with one matrix for queries, keys and values, and of an MLP without a gate. */
export function fusedMatrices(config: ModelConfig): MatrixGroup[] {
  const { hiddenSize, headCount, kvHeadCount, headDim, ffnSize } = config
  const rows = (headCount + 2 * kvHeadCount) * headDim
  return [
    matrix('qkv', 'self_attention.query_key_value', rows, hiddenSize),
    matrix('out', 'self_attention.dense', hiddenSize, headCount * headDim),
    matrix('up', 'mlp.dense_h_to_4h', ffnSize, hiddenSize),
    matrix('down', 'mlp.dense_4h_to_h', hiddenSize, ffnSize)
  ]
}

/** Weights of norms over the whole width. */
export function norms(config: ModelConfig, ...parts: readonly string[]): VectorPart[] {
  return parts.map((part) => ({ name: `${part}.weight`, length: config.hiddenSize }))
}

/** Weights and biases of layer norms over the whole width. */
export function layerNorms(config: ModelConfig, ...parts: readonly string[]): VectorPart[] {
  const names = parts.flatMap((part) => [`${part}.weight`, `${part}.bias`])
  return names.map((name) => ({ name, length: config.hiddenSize }))
}

export const HEAD_NORMS = { query: 'self_attn.q_norm', key: 'self_attn.k_norm' } as const

/** Weights of the norms of single heads. */
export function headNorms(config: ModelConfig): VectorPart[] {
  const parts = Object.values(HEAD_NORMS)
  return parts.map((part) => ({ name: `${part}.weight`, length: config.headDim }))
}
