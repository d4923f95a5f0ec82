// Falcon's block: attention and MLP read the same stream, through one norm or through one each, and
// both are added. In the RW models one follows the other.
import type { ModelConfig } from '../../model/types.ts'
import type { FamilyGraph } from './family.ts'
import type { BlockParts } from './parts.ts'
import { fusedMatrices, layerNorms } from './shared.ts'

export const falcon: FamilyGraph = {
  norm: 'layer',
  matrices: fusedMatrices,
  vectors: (config) => layerNorms(config, ...normNames(config)),
  block(parts, stream) {
    const { config, norm, branchNorm, add } = parts
    const [first = '', second] = normNames(config)
    const before = norm(stream, first)
    const attended = attend(parts, before.normed)
    if (config.parallelNorms === undefined) {
      const middle = { residual: before.residual, branch: attended }
      const { normed, residual } = norm(middle, second ?? '')
      return { residual, branch: mlp(parts, normed) }
    }
    const forMlp = second === undefined ? before.normed : branchNorm(before.residual, second)
    return { residual: before.residual, branch: add(attended, mlp(parts, forMlp)) }
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
function attend<V>({ config, linear, attention }: BlockParts<V>, normed: V): V {
  const attended = attention(linear(normed, 'qkv'), { alibiScale: config.headDim ** -0.5 })
  return linear(attended, 'out')
}

function mlp<V>({ linear, gelu }: BlockParts<V>, normed: V): V {
  return linear(gelu(linear(normed, 'up'), 'erf'), 'down')
}
