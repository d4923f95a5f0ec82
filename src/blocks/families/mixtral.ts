// Mixtral's block: Llama's with a mixture of experts in place of its MLP.
import { attention } from '../graph/attention.ts'
import { experts } from '../graph/experts.ts'
import { norm } from '../graph/norms.ts'
import { linear } from '../graph/parts.ts'
import type { FamilyGraph } from './family.ts'
import { attentionMatrices, expertMatrices, norms } from './shared.ts'

export const mixtral: FamilyGraph = {
  norm: 'rms',
  matrices: (config) => [...attentionMatrices(config), ...expertMatrices(config)],
  vectors: (config) => norms(config, 'input_layernorm', 'post_attention_layernorm'),
  block(scope, stream) {
    const before = norm(scope, stream, 'input_layernorm')
    const attended = attention(scope, linear(scope, before.normed, 'qkv'))
    const middle = { residual: before.residual, branch: linear(scope, attended, 'out') }
    const { normed, residual } = norm(scope, middle, 'post_attention_layernorm')
    return { residual, branch: experts(scope, normed) }
  }
}
