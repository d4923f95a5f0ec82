// GPT-2's block: layer norms, plain attention, an MLP with GELU by tanh. Positions came with the embedding.
import { attention } from '../graph/attention.ts'
import { gelu } from '../graph/mlp.ts'
import { layerNorm } from '../graph/norms.ts'
import { linear } from '../graph/parts.ts'
import type { FamilyGraph } from './family.ts'
import { layerNorms, matrix } from './shared.ts'

export const gpt2: FamilyGraph = {
  norm: 'layer',
  matrices: ({ hiddenSize, ffnSize }) => [
    matrix('qkv', 'attn.c_attn', 3 * hiddenSize, hiddenSize),
    matrix('out', 'attn.c_proj', hiddenSize, hiddenSize),
    matrix('up', 'mlp.c_fc', ffnSize, hiddenSize),
    matrix('down', 'mlp.c_proj', hiddenSize, ffnSize)
  ],
  vectors: (config) => layerNorms(config, 'ln_1', 'ln_2'),
  block(scope, stream) {
    const before = layerNorm(scope, stream, 'ln_1')
    const attended = attention(scope, linear(scope, before.normed, 'qkv'))
    const middle = { residual: before.residual, branch: linear(scope, attended, 'out') }
    const { normed, residual } = layerNorm(scope, middle, 'ln_2')
    const active = gelu(scope, linear(scope, normed, 'up'), 'tanh')
    return { residual, branch: linear(scope, active, 'down') }
  }
}
