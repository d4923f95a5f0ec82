// Gemma 2's block: each branch is normed before and after; GeGLU. Soft caps and windows are attention's.
import { attention, type AttentionOptions } from '../graph/attention.ts'
import { geglu } from '../graph/mlp.ts'
import { branchNorm, norm } from '../graph/norms.ts'
import { linear, type BlockScope, type Stream } from '../graph/parts.ts'
import type { FamilyGraph } from './family.ts'
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
  block: (scope, stream) => sandwich(scope, stream)
}

/** The block, with what Gemma 3's attention does besides. */
export function sandwich(
  scope: BlockScope,
  stream: Stream,
  options: AttentionOptions = {}
): Stream {
  const before = norm(scope, stream, 'input_layernorm')
  const attended = attention(scope, linear(scope, before.normed, 'qkv'), options)
  const out = branchNorm(scope, linear(scope, attended, 'out'), 'post_attention_layernorm')
  const middle = { residual: before.residual, branch: out }
  const { normed, residual } = norm(scope, middle, 'pre_feedforward_layernorm')
  const down = linear(scope, geglu(scope, linear(scope, normed, 'gateUp')), 'down')
  return { residual, branch: branchNorm(scope, down, 'post_feedforward_layernorm') }
}
