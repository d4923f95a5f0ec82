// Gemma 3's block: Gemma 2's, with norms of each query's and key's head.
import type { FamilyGraph } from './family.ts'
import { gemma2, sandwich } from './gemma2.ts'
import { HEAD_NORMS, headNorms } from './shared.ts'

export const gemma3: FamilyGraph = {
  ...gemma2,
  vectors: (config) => [...gemma2.vectors(config), ...headNorms(config)],
  block: (parts, stream) => sandwich(parts, stream, { headNorms: HEAD_NORMS })
}
