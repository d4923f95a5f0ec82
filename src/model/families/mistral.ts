// Mistral: Llama's block with a sliding window. Its GGUFs say 'llama', and most omit the window.
import { GATED_MLP, LLAMA_ATTENTION, INPUT_NORM, POST_ATTENTION_NORM } from './facts.ts'
import { EMBEDDING, FINAL_NORM, HEAD, type FamilyFacts, type Part } from './facts.ts'
import { commonFromGguf, hasWindow, windowFromGguf } from './gguf-config.ts'
import { commonFromHub, windowFromHub } from './hub-config.ts'

const BLOCK: readonly Part[] = [INPUT_NORM, ...LLAMA_ATTENTION, POST_ATTENTION_NORM, ...GATED_MLP]

export const MISTRAL: FamilyFacts = {
  family: 'mistral',
  architectures: ['llama'],
  modelTypes: ['mistral'],
  isInGguf: (gguf) => (gguf.optional('expert_count') ?? 0) === 0 && hasWindow(gguf),
  outer: [EMBEDDING, FINAL_NORM, HEAD],
  block: () => BLOCK,
  fromHub(hub) {
    hub.checkActivation('silu', 'silu')
    return { ...commonFromHub(hub, 'mistral'), ...windowFromHub(hub) }
  },
  fromGguf: (gguf) => ({ ...commonFromGguf(gguf, 'mistral'), ...windowFromGguf(gguf) })
}
