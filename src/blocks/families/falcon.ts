// Falcon's block: attention and MLP read the same stream, through one norm or one each, and are added;
// in the RW models one follows the other.
import { attention } from '../graph/attention.ts'
import { gelu } from '../graph/mlp.ts'
import { layerNorm } from '../graph/norms.ts'
import { linear, type BlockScope } from '../graph/parts.ts'
import type { Value } from '../graph/builder.ts'
import type { ModelConfig } from '../../model/types.ts'
import type { FamilyGraph } from './family.ts'
import { fusedMatrices, layerNorms } from './shared.ts'

export const falcon: FamilyGraph = {
  norm: 'layer',
  matrices: fusedMatrices,
  vectors: (config) => layerNorms(config, ...normNames(config)),
  block(scope, stream) {
    const [first = '', second] = normNames(scope.config)
    const before = layerNorm(scope, stream, first)
    const attended = attend(scope, before.normed)
    if (scope.config.parallelNorms === undefined) {
      const middle = { residual: before.residual, branch: attended }
      const { normed, residual } = layerNorm(scope, middle, second ?? '')
      return { residual, branch: mlp(scope, normed) }
    }
    const forMlp =
      second === undefined
        ? before.normed
        : layerNorm(scope, { residual: before.residual }, second).normed
    const branch = scope.builder.node('Add', [attended, mlp(scope, forMlp)])
    return { residual: before.residual, branch }
  }
}

function normNames(config: ModelConfig): readonly string[] {
  switch (config.parallelNorms) {
    case 1:
      return ['input_layernorm']
    case 2:
      return ['ln_attn', 'ln_mlp']
    default:
      return ['input_layernorm', 'post_attention_layernorm']
  }
}

/** Falcon adds ALiBi before it scales the scores. */
function attend(scope: BlockScope, normed: Value): Value {
  const { headDim } = scope.config
  const qkv = linear(scope, normed, 'qkv')
  return linear(scope, attention(scope, qkv, { alibiScale: headDim ** -0.5 }), 'out')
}

function mlp(scope: BlockScope, normed: Value): Value {
  return linear(scope, gelu(scope, linear(scope, normed, 'up'), 'erf'), 'down')
}
