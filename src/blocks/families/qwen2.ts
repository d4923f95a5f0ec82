// Qwen 2's block: Llama's. The biases of queries, keys and values are part of their linear layer.
import type { FamilyGraph } from './family.ts'
import { llama } from './llama.ts'

export const qwen2: FamilyGraph = llama
