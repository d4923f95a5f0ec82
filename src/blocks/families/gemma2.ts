// Gemma 2's block: each branch is normed before and after; GeGLU. Soft caps and windows belong to
// attention.
import type { FamilyGraph } from './family.ts'
import type { AttentionOptions, BlockParts, Stream } from './parts.ts'
import { attentionMatrices, gatedMatrices, norms } from './shared.ts'

export const gemma2: FamilyGraph = {
  norm: 'rms',
  matrices: (config) => [...attentionMatrices(config), ...gatedMatrices(config)],
  vectors: (config) =>
    norms(
      config,
      'input_layernorm',
      'post_attention_layernorm',
      'pre_feedforward_layernorm',
      'post_feedforward_layernorm'
    ),
  block: (parts, stream) => sandwich(parts, stream)
}

/** The block; Gemma 3 passes further options of attention. */
export function sandwich<V>(
  { norm, branchNorm, linear, attention, geglu }: BlockParts<V>,
  stream: Stream<V>,
  options: AttentionOptions = {}
): Stream<V> {
  const before = norm(stream, 'input_layernorm')
  const attended = attention(linear(before.normed, 'qkv'), options)
  const out = branchNorm(linear(attended, 'out'), 'post_attention_layernorm')
  const middle = { residual: before.residual, branch: out }
  const { normed, residual } = norm(middle, 'pre_feedforward_layernorm')
  const down = linear(geglu(linear(normed, 'gateUp')), 'down')
  return { residual, branch: branchNorm(down, 'post_feedforward_layernorm') }
}
