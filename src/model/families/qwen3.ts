// Qwen 3: Llama's block with norms of each query's and key's head.
import {
  ATTENTION_OUT,
  EMBEDDING,
  FINAL_NORM,
  GATED_MLP,
  HEAD,
  INPUT_NORM,
  KEY,
  KEY_NORM,
  POST_ATTENTION_NORM,
  QUERY,
  QUERY_NORM,
  VALUE,
  withBias,
  type FamilyFacts,
  type Part
} from './facts.ts'
import { commonFromGguf } from './gguf-config.ts'
import { commonFromHub, qwenWindow } from './hub-config.ts'

/**
 * The parts before the MLP, which Qwen3-MoE has too. The biases that are there tell about
 * `attention_bias`.
 */
export const QWEN3_ATTENTION: readonly Part[] = [
  INPUT_NORM,
  ...withBias('may', QUERY, KEY, VALUE, ATTENTION_OUT),
  QUERY_NORM,
  KEY_NORM,
  POST_ATTENTION_NORM
]
const BLOCK: readonly Part[] = [...QWEN3_ATTENTION, ...GATED_MLP]

export const QWEN3: FamilyFacts = {
  family: 'qwen3',
  architectures: ['qwen3'],
  modelTypes: ['qwen3'],
  outer: [EMBEDDING, FINAL_NORM, HEAD],
  block: () => BLOCK,
  fromHub(hub) {
    hub.checkActivation('silu', 'silu')
    const config = commonFromHub(hub, 'qwen3')
    return { ...config, ...qwenWindow(hub, config.blockCount) }
  },
  fromGguf: (gguf) => commonFromGguf(gguf, 'qwen3')
}
