// Gemma 2: soft caps of scores and logits, a window in every other block.
import type { FamilyFacts } from './facts.ts'
import { GEMMA_BLOCK, GEMMA_OUTER, gemmaFromGguf, gemmaFromHub } from './gemma.ts'
import { alternatingWindow } from './hub-config.ts'
import { HubFacts } from './hub-facts.ts'

/** Values that a config.json may omit. */
const DEFAULTS = {
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 256,
  vocab_size: 256_000,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-6,
  query_pre_attn_scalar: 256,
  sliding_window: 4096,
  attn_logit_softcapping: 50,
  final_logit_softcapping: 30
}

export const GEMMA2: FamilyFacts = {
  family: 'gemma2',
  architectures: ['gemma2'],
  modelTypes: ['gemma2'],
  outer: GEMMA_OUTER,
  block: () => GEMMA_BLOCK,
  fromHub({ json, name }) {
    const hub = new HubFacts({ ...DEFAULTS, ...json }, name)
    const config = gemmaFromHub(hub, 'gemma2')
    const window = alternatingWindow(hub, config.blockCount, (block) =>
      (block + 1) % 2 === 0 ? 'full_attention' : 'sliding_attention'
    )
    return { ...config, ...window }
  },
  fromGguf(gguf) {
    const config = gemmaFromGguf(gguf, 'gemma2')
    return config.window === undefined ? config : { ...config, fullEvery: 2 }
  }
}
