// The Llama family's block: which matrices it has and how the parts follow each other.
import { attention, linear, norm, swiglu } from '../graph/parts.ts'
import type { FamilyGraph } from './family.ts'

export const llama: FamilyGraph = {
  matrices: (config) => [
    {
      name: 'qkv',
      parts: [
        { part: 'self_attn.q_proj', rows: config.headCount * config.headDim },
        { part: 'self_attn.k_proj', rows: config.kvHeadCount * config.headDim },
        { part: 'self_attn.v_proj', rows: config.kvHeadCount * config.headDim }
      ],
      columns: config.hiddenSize
    },
    {
      name: 'out',
      parts: [{ part: 'self_attn.o_proj', rows: config.hiddenSize }],
      columns: config.headCount * config.headDim
    },
    {
      name: 'gateUp',
      parts: [
        { part: 'mlp.gate_proj', rows: config.ffnSize },
        { part: 'mlp.up_proj', rows: config.ffnSize }
      ],
      columns: config.hiddenSize
    },
    {
      name: 'down',
      parts: [{ part: 'mlp.down_proj', rows: config.hiddenSize }],
      columns: config.ffnSize
    }
  ],
  vectors: () => ['input_layernorm', 'post_attention_layernorm'],
  block(scope, stream) {
    const before = norm(scope, stream, 'input_layernorm')
    const attended = attention(scope, linear(scope, before.normed, 'qkv'))
    const branch = linear(scope, attended, 'out')
    const middle = { residual: before.residual, branch }
    const { normed, residual } = norm(scope, middle, 'post_attention_layernorm')
    const gated = swiglu(scope, linear(scope, normed, 'gateUp'))
    return { residual, branch: linear(scope, gated, 'down') }
  }
}
