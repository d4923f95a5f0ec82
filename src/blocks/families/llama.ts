// The Llama family's block: which matrices it has and how the parts follow each other.
import { attention } from '../graph/attention.ts'
import { swiglu } from '../graph/mlp.ts'
import { norm } from '../graph/norms.ts'
import { linear } from '../graph/parts.ts'
import type { FamilyGraph } from './family.ts'
import { attentionMatrices, gatedMatrices, norms } from './shared.ts'

export const llama: FamilyGraph = {
  norm: 'rms',
  matrices: (config) => [...attentionMatrices(config), ...gatedMatrices(config)],
  vectors: (config) => norms(config, 'input_layernorm', 'post_attention_layernorm'),
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
