// BLOOM's block: layer norms, attention with ALiBi, an MLP with GELU by tanh.
import type { FamilyGraph } from './family.ts'
import { fusedMatrices, layerNorms } from './shared.ts'

export const bloom: FamilyGraph = {
  norm: 'layer',
  matrices: fusedMatrices,
  vectors: (config) => layerNorms(config, 'input_layernorm', 'post_attention_layernorm'),
  block({ norm, linear, attention, gelu }, stream) {
    const before = norm(stream, 'input_layernorm')
    const attended = attention(linear(before.normed, 'qkv'))
    const middle = { residual: before.residual, branch: linear(attended, 'out') }
    const { normed, residual } = norm(middle, 'post_attention_layernorm')
    return { residual, branch: linear(gelu(linear(normed, 'up'), 'tanh'), 'down') }
  }
}
