// Qwen3-MoE's block: Qwen 3's with a mixture of experts in place of its MLP.
import { experts } from '../graph/experts.ts'
import { norm } from '../graph/norms.ts'
import type { FamilyGraph } from './family.ts'
import { normedAttention, qwen3 } from './qwen3.ts'
import { attentionMatrices, expertMatrices } from './shared.ts'

export const qwen3moe: FamilyGraph = {
  norm: 'rms',
  matrices: (config) => [...attentionMatrices(config), ...expertMatrices(config)],
  vectors: qwen3.vectors,
  block(scope, stream) {
    const middle = normedAttention(scope, stream)
    const { normed, residual } = norm(scope, middle, 'post_attention_layernorm')
    return { residual, branch: experts(scope, normed) }
  }
}
