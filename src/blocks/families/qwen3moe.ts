// Qwen3-MoE's block: Qwen 3's with a mixture of experts in place of its MLP.
import type { FamilyGraph } from './family.ts'
import { normedAttention, qwen3 } from './qwen3.ts'
import { attentionMatrices, expertMatrices } from './shared.ts'

export const qwen3moe: FamilyGraph = {
  norm: 'rms',
  matrices: (config) => [...attentionMatrices(config), ...expertMatrices(config)],
  vectors: qwen3.vectors,
  block(parts, stream) {
    const middle = normedAttention(parts, stream)
    const { normed, residual } = parts.norm(middle, 'post_attention_layernorm')
    return { residual, branch: parts.experts(normed) }
  }
}
