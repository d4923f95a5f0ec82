// Qwen 2's block: Llama's; the biases of queries, keys and values come with their matrix.
import type { FamilyGraph } from './family.ts'
import { llama } from './llama.ts'

export const qwen2: FamilyGraph = llama
