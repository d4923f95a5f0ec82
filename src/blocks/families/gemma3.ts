// Gemma 3's block: Gemma 2's with a norm of each query's and key's head.
import { headNorm } from '../graph/norms.ts'
import type { FamilyGraph } from './family.ts'
import { gemma2, sandwich } from './gemma2.ts'
import { headNorms } from './shared.ts'

export const gemma3: FamilyGraph = {
  ...gemma2,
  vectors: (config) => [...gemma2.vectors(config), ...headNorms(config)],
  block: (scope, stream) =>
    sandwich(scope, stream, {
      beforeTurn: (x, of) =>
        headNorm(scope, x, of === 'query' ? 'self_attn.q_norm' : 'self_attn.k_norm')
    })
}
