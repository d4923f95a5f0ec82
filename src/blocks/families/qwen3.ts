// Qwen 3's block: Llama's with a norm of each query's and key's head before it is turned.
import { attention } from '../graph/attention.ts'
import { swiglu } from '../graph/mlp.ts'
import { headNorm, norm } from '../graph/norms.ts'
import { linear, type BlockScope, type Stream } from '../graph/parts.ts'
import type { FamilyGraph } from './family.ts'
import { attentionMatrices, gatedMatrices, headNorms, norms } from './shared.ts'

export const qwen3: FamilyGraph = {
  norm: 'rms',
  matrices: (config) => [...attentionMatrices(config), ...gatedMatrices(config)],
  vectors: (config) => [
    ...norms(config, 'input_layernorm', 'post_attention_layernorm'),
    ...headNorms(config)
  ],
  block(scope, stream) {
    const middle = normedAttention(scope, stream)
    const { normed, residual } = norm(scope, middle, 'post_attention_layernorm')
    const gated = swiglu(scope, linear(scope, normed, 'gateUp'))
    return { residual, branch: linear(scope, gated, 'down') }
  }
}

/** The block up to its MLP, which Qwen3-MoE has too. */
export function normedAttention(scope: BlockScope, stream: Stream): Stream {
  const { normed, residual } = norm(scope, stream, 'input_layernorm')
  const attended = attention(scope, linear(scope, normed, 'qkv'), {
    beforeTurn: (x, of) =>
      headNorm(scope, x, of === 'query' ? 'self_attn.q_norm' : 'self_attn.k_norm')
  })
  return { residual, branch: linear(scope, attended, 'out') }
}
