// What Gemma 2 and 3 share: norms before and after each branch, a scaled embedding, a window in
// most blocks.
import type { Family, ModelConfig } from '../types.ts'
import {
  ATTENTION_OUT,
  EMBEDDING,
  FINAL_NORM,
  GATED_MLP,
  HEAD,
  INPUT_NORM,
  KEY,
  QUERY,
  VALUE,
  type Part
} from './facts.ts'
import { commonFromGguf, windowFromGguf } from './gguf-config.ts'
import type { GgufFacts } from './gguf-facts.ts'
import { commonFromHub } from './hub-config.ts'
import type { HubFacts } from './hub-facts.ts'

const hidden = (c: ModelConfig): readonly number[] => [c.hiddenSize]

export const GEMMA_OUTER: readonly Part[] = [EMBEDDING, FINAL_NORM, HEAD]
export const GEMMA_BLOCK: readonly Part[] = [
  INPUT_NORM,
  QUERY,
  KEY,
  VALUE,
  ATTENTION_OUT,
  { name: 'post_attention_layernorm', gguf: 'post_attention_norm', shape: hidden },
  { name: 'pre_feedforward_layernorm', gguf: 'ffn_norm', shape: hidden },
  ...GATED_MLP,
  { name: 'post_feedforward_layernorm', gguf: 'post_ffw_norm', shape: hidden }
]

type Gemma = 'gemma2' | 'gemma3'

/** In the hub's files norm weights are stored minus one; llama.cpp's converter adds it. */
export function gemmaFromHub(hub: HubFacts, family: Gemma): ModelConfig {
  hub.checkActivation('gelu_pytorch_tanh', 'gelu_pytorch_tanh')
  const config = commonFromHub(hub, family)
  const scale = hub.optional('query_pre_attn_scalar') ?? config.headDim
  return {
    ...config,
    ...scales(config, scale),
    ...softCaps(hub.optional('attn_logit_softcapping'), hub.optional('final_logit_softcapping')),
    normPlusOne: true,
    // Absent means tied, unlike in Llama.
    tiedEmbedding: hub.json['tie_word_embeddings'] !== false
  }
}

/**
 * A GGUF does not tell the scale of queries. The largest model of each kind, recognised by its
 * number of blocks, uses hiddenSize / heads; the others use the head's width.
 */
export function gemmaFromGguf(gguf: GgufFacts, family: Gemma): ModelConfig {
  const config = commonFromGguf(gguf, family as Family)
  const isLargest = config.blockCount === LARGEST_BLOCKS[family]
  const scale = isLargest ? config.hiddenSize / config.headCount : config.headDim
  return {
    ...config,
    ...scales(config, scale),
    ...softCaps(gguf.optional('attn_logit_softcapping'), gguf.optional('final_logit_softcapping')),
    ...windowFromGguf(gguf)
  }
}

/** Number of blocks of Gemma 2 27B and Gemma 3 27B. */
const LARGEST_BLOCKS: Readonly<Record<Gemma, number>> = { gemma2: 46, gemma3: 62 }

function scales(
  config: ModelConfig,
  scale: number
): Pick<ModelConfig, 'attentionScale' | 'embeddingScale'> {
  return {
    embeddingScale: Math.fround(Math.sqrt(config.hiddenSize)),
    ...(scale === config.headDim ? {} : { attentionScale: Math.fround(scale ** -0.5) })
  }
}

function softCaps(
  attention: number | undefined,
  head: number | undefined
): Pick<ModelConfig, 'attentionSoftCap' | 'headSoftCap'> {
  return {
    ...(attention === undefined ? {} : { attentionSoftCap: attention }),
    ...(head === undefined ? {} : { headSoftCap: head })
  }
}
