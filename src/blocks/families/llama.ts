// The Llama family's block: its matrices and the order of its parts.
import type { FamilyGraph } from './family.ts'
import { attentionMatrices, gatedMatrices, norms } from './shared.ts'

export const llama: FamilyGraph = {
  norm: 'rms',
  matrices: (config) => [...attentionMatrices(config), ...gatedMatrices(config)],
  vectors: (config) => norms(config, 'input_layernorm', 'post_attention_layernorm'),
  block({ norm, linear, attention, swiglu }, stream) {
    const before = norm(stream, 'input_layernorm')
    const attended = attention(linear(before.normed, 'qkv'))
    const middle = { residual: before.residual, branch: linear(attended, 'out') }
    const { normed, residual } = norm(middle, 'post_attention_layernorm')
    return { residual, branch: linear(swiglu(linear(normed, 'gateUp')), 'down') }
  }
}
