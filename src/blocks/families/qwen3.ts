// Qwen 3's block: Llama's, with norms of each query's and key's head before rotation.
import type { FamilyGraph } from './family.ts'
import type { BlockParts, Stream } from './parts.ts'
import { attentionMatrices, gatedMatrices, HEAD_NORMS, headNorms, norms } from './shared.ts'

export const qwen3: FamilyGraph = {
  norm: 'rms',
  matrices: (config) => [...attentionMatrices(config), ...gatedMatrices(config)],
  vectors: (config) => [
    ...norms(config, 'input_layernorm', 'post_attention_layernorm'),
    ...headNorms(config)
  ],
  block(parts, stream) {
    const { norm, linear, swiglu } = parts
    const middle = normedAttention(parts, stream)
    const { normed, residual } = norm(middle, 'post_attention_layernorm')
    return { residual, branch: linear(swiglu(linear(normed, 'gateUp')), 'down') }
  }
}

/** The block up to its MLP; shared with Qwen3-MoE. */
export function normedAttention<V>(
  { norm, linear, attention }: BlockParts<V>,
  stream: Stream<V>
): Stream<V> {
  const { normed, residual } = norm(stream, 'input_layernorm')
  const attended = attention(linear(normed, 'qkv'), { headNorms: HEAD_NORMS })
  return { residual, branch: linear(attended, 'out') }
}
