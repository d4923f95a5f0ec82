// BLOOM's block: layer norms, attention with ALiBi, an MLP with GELU by tanh.
import { attention } from '../graph/attention.ts'
import { gelu } from '../graph/mlp.ts'
import { layerNorm } from '../graph/norms.ts'
import { linear } from '../graph/parts.ts'
import type { FamilyGraph } from './family.ts'
import { fusedMatrices, layerNorms } from './shared.ts'

export const bloom: FamilyGraph = {
  norm: 'layer',
  matrices: fusedMatrices,
  vectors: (config) => layerNorms(config, 'input_layernorm', 'post_attention_layernorm'),
  block(scope, stream) {
    const before = layerNorm(scope, stream, 'input_layernorm')
    const attended = attention(scope, linear(scope, before.normed, 'qkv'))
    const middle = { residual: before.residual, branch: linear(scope, attended, 'out') }
    const { normed, residual } = layerNorm(scope, middle, 'post_attention_layernorm')
    const active = gelu(scope, linear(scope, normed, 'up'), 'tanh')
    return { residual, branch: linear(scope, active, 'down') }
  }
}
