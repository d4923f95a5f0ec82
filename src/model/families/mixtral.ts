// Mixtral: Mistral's block with experts. Its GGUFs say 'llama' and have experts; old ones have a
// tensor for each.
import {
  EMBEDDING,
  EXPERTS,
  FINAL_NORM,
  HEAD,
  INPUT_NORM,
  LLAMA_ATTENTION,
  POST_ATTENTION_NORM,
  type FamilyFacts,
  type Part
} from './facts.ts'
import { commonFromGguf, expertsFromGguf, hasWindow, windowFromGguf } from './gguf-config.ts'
import { commonFromHub, windowFromHub } from './hub-config.ts'
import { HubFacts } from './hub-facts.ts'

const BLOCK: readonly Part[] = [INPUT_NORM, ...LLAMA_ATTENTION, POST_ATTENTION_NORM, ...EXPERTS]

const MATRICES: Readonly<Record<string, string>> = {
  w1: 'gate_proj',
  w2: 'down_proj',
  w3: 'up_proj'
}

export const MIXTRAL: FamilyFacts = {
  family: 'mixtral',
  architectures: ['llama'],
  modelTypes: ['mixtral'],
  isInGguf: (gguf) => (gguf.optional('expert_count') ?? 0) > 0,
  outer: [EMBEDDING, FINAL_NORM, HEAD],
  block: () => BLOCK,
  hubName: (name) =>
    name
      .replace('.block_sparse_moe.', '.mlp.')
      .replace(/\.(w[123])\.weight$/, (_, matrix: string) => `.${MATRICES[matrix]}.weight`),
  fromHub({ json, name }) {
    const hub = new HubFacts({ rope_theta: 1_000_000, ...json }, name)
    hub.checkActivation('silu', 'silu')
    return {
      ...commonFromHub(hub, 'mixtral'),
      ...windowFromHub(hub),
      expertCount: hub.required('num_local_experts'),
      expertsPerToken: hub.required('num_experts_per_tok')
    }
  },
  fromGguf: (gguf) => ({
    ...commonFromGguf(gguf, 'mixtral'),
    ...(hasWindow(gguf) ? windowFromGguf(gguf) : {}),
    ...expertsFromGguf(gguf)
  })
}
