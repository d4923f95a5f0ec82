// GPT-2's block: layer norms, plain attention, an MLP with GELU by tanh. Positions are part of the
// embedding.
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
  block({ norm, linear, attention, gelu }, stream) {
    const before = norm(stream, 'ln_1')
    const attended = attention(linear(before.normed, 'qkv'))
    const middle = { residual: before.residual, branch: linear(attended, 'out') }
    const { normed, residual } = norm(middle, 'ln_2')
    return { residual, branch: linear(gelu(linear(normed, 'up'), 'tanh'), 'down') }
  }
}
