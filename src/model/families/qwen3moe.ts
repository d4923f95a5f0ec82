// Qwen3-MoE: Qwen 3's block with experts.
import { EMBEDDING, EXPERTS, FINAL_NORM, HEAD, type FamilyFacts, type Part } from './facts.ts'
import { commonFromGguf, expertsFromGguf } from './gguf-config.ts'
import { commonFromHub, qwenWindow } from './hub-config.ts'
import { QWEN3_ATTENTION } from './qwen3.ts'

const BLOCK: readonly Part[] = [...QWEN3_ATTENTION, ...EXPERTS]

export const QWEN3MOE: FamilyFacts = {
  family: 'qwen3moe',
  architectures: ['qwen3moe'],
  modelTypes: ['qwen3_moe'],
  outer: [EMBEDDING, FINAL_NORM, HEAD],
  block: () => BLOCK,
  fromHub(hub) {
    hub.checkActivation('silu', 'silu')
    const dense = hub.json['mlp_only_layers']
    const hasDense = Array.isArray(dense) && dense.length > 0
    if (hasDense || (hub.optional('decoder_sparse_step') ?? 1) !== 1) {
      throw hub.refuse('a mixture of experts in some blocks only')
    }
    const config = commonFromHub(hub, 'qwen3moe')
    return {
      ...config,
      ...qwenWindow(hub, config.blockCount),
      ffnSize: hub.required('moe_intermediate_size'),
      expertCount: hub.required('num_experts', 'num_local_experts'),
      expertsPerToken: hub.required('num_experts_per_tok'),
      ...(hub.flag('norm_topk_prob', false) ? {} : { expertSharesOfAll: true as const })
    }
  },
  fromGguf: (gguf) => ({
    ...commonFromGguf(gguf, 'qwen3moe'),
    ...expertsFromGguf(gguf),
    ffnSize: gguf.required('expert_feed_forward_length')
  })
}
