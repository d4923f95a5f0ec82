// Mistral's block: Llama's, whose attention sees a window where the config has one.
import type { FamilyGraph } from './family.ts'
import { llama } from './llama.ts'

export const mistral: FamilyGraph = llama
