// Mistral's block: Llama's, with a window for attention if the config has one.
import type { FamilyGraph } from './family.ts'
import { llama } from './llama.ts'

export const mistral: FamilyGraph = llama
