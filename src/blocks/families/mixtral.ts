// Mixtral's block: Llama's with a mixture of experts in place of its MLP.
import type { FamilyGraph } from './family.ts'
import { attentionMatrices, expertMatrices, norms } from './shared.ts'

export const mixtral: FamilyGraph = {
  norm: 'rms',
  matrices: (config) => [...attentionMatrices(config), ...expertMatrices(config)],
  vectors: (config) => norms(config, 'input_layernorm', 'post_attention_layernorm'),
  block({ norm, linear, attention, experts }, stream) {
    const before = norm(stream, 'input_layernorm')
    const attended = attention(linear(before.normed, 'qkv'))
    const middle = { residual: before.residual, branch: linear(attended, 'out') }
    const { normed, residual } = norm(middle, 'post_attention_layernorm')
    return { residual, branch: experts(normed) }
  }
}
