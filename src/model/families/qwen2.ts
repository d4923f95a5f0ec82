// Qwen 2 and 2.5: Llama's block with biases of queries, keys and values.
import {
  ATTENTION_OUT,
  EMBEDDING,
  FINAL_NORM,
  GATED_MLP,
  HEAD,
  INPUT_NORM,
  KEY,
  POST_ATTENTION_NORM,
  QUERY,
  VALUE,
  withBias,
  type FamilyFacts,
  type Part
} from './facts.ts'
import { commonFromGguf } from './gguf-config.ts'
import { commonFromHub, qwenWindow } from './hub-config.ts'

const BLOCK: readonly Part[] = [
  INPUT_NORM,
  ...withBias('must', QUERY, KEY, VALUE),
  ATTENTION_OUT,
  POST_ATTENTION_NORM,
  ...GATED_MLP
]

export const QWEN2: FamilyFacts = {
  family: 'qwen2',
  architectures: ['qwen2'],
  modelTypes: ['qwen2'],
  outer: [EMBEDDING, FINAL_NORM, HEAD],
  block: () => BLOCK,
  fromHub(hub) {
    hub.checkActivation('silu', 'silu')
    const config = commonFromHub(hub, 'qwen2')
    return { ...config, ...qwenWindow(hub, config.blockCount) }
  },
  fromGguf: (gguf) => commonFromGguf(gguf, 'qwen2')
}
