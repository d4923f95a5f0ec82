// Llama 1 to 3 and models of the same architecture.
import { commonFromGguf, hasWindow } from './gguf-config.ts'
import {
  EMBEDDING,
  FINAL_NORM,
  GATED_MLP,
  HEAD,
  INPUT_NORM,
  LLAMA_ATTENTION,
  POST_ATTENTION_NORM,
  ROPE_FACTORS,
  withBias,
  type FamilyFacts,
  type Part
} from './facts.ts'
import { commonFromHub } from './hub-config.ts'

/** `attention_bias` and `mlp_bias` are rare; the biases that are there tell. */
const BLOCK: readonly Part[] = [
  INPUT_NORM,
  ...withBias('may', ...LLAMA_ATTENTION),
  POST_ATTENTION_NORM,
  ...withBias('may', ...GATED_MLP)
]

export const LLAMA: FamilyFacts = {
  family: 'llama',
  architectures: ['llama'],
  modelTypes: ['llama'],
  isInGguf: (gguf) => (gguf.optional('expert_count') ?? 0) === 0 && !hasWindow(gguf),
  outer: [EMBEDDING, FINAL_NORM, HEAD, ROPE_FACTORS],
  block: () => BLOCK,
  fromHub(hub) {
    hub.checkActivation('silu', 'silu')
    return commonFromHub(hub, 'llama')
  },
  fromGguf: (gguf) => commonFromGguf(gguf, 'llama')
}
