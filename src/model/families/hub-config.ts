// Reads config.json as most families of the hub write it; each family adds its own facts. Knows no
// tensors.
import { corrupt } from '../../base/errors.ts'
import type { Family, ModelConfig } from '../types.ts'
import type { HubFacts } from './hub-facts.ts'
import { ropeFromHub } from './rope.ts'

/** Facts that Llama and similar families share. */
export function commonFromHub(hub: HubFacts, family: Family): ModelConfig {
  const hiddenSize = hub.required('hidden_size')
  const headCount = hub.required('num_attention_heads')
  const headDim = hub.optional('head_dim') ?? hiddenSize / headCount
  return {
    family,
    name: hub.name,
    hiddenSize,
    blockCount: hub.required('num_hidden_layers'),
    headCount,
    kvHeadCount: hub.optional('num_key_value_heads') ?? headCount,
    headDim,
    ffnSize: hub.required('intermediate_size'),
    vocabSize: hub.required('vocab_size'),
    contextLength: hub.required('max_position_embeddings'),
    ...ropeFromHub(hub, headDim),
    rmsEps: Math.fround(hub.required('rms_norm_eps')),
    tiedEmbedding: hub.json['tie_word_embeddings'] === true
  }
}

/** `sliding_window`, for families in which every block has it. */
export function windowFromHub(hub: HubFacts): { window?: number } {
  const window = hub.optional('sliding_window')
  return window === undefined ? {} : { window }
}

/** The kinds of blocks in `layer_types`. */
export type LayerType = 'full_attention' | 'sliding_attention'

/**
 * Which blocks have `sliding_window`: as `layer_types` says, or else as `otherwise` says.
 * @throws AppError UNSUPPORTED unless every nth block is full and the others have the window
 */
export function alternatingWindow(
  hub: HubFacts,
  blockCount: number,
  otherwise: (block: number) => LayerType
): { window?: number; fullEvery?: number } {
  const { window } = windowFromHub(hub)
  if (window === undefined) return {}
  const listed = hub.json['layer_types']
  if (Array.isArray(listed) && listed.length !== blockCount) {
    throw corrupt(`The model cannot be opened: ${listed.length} layer types, ${blockCount} blocks`)
  }
  // A config may claim any number of blocks; checkConfig refuses it later.
  const count = Math.min(blockCount, MAX_BLOCKS)
  const types: readonly unknown[] = Array.isArray(listed)
    ? listed
    : Array.from({ length: count }, (_, block) => otherwise(block))
  const every = types.indexOf('full_attention') + 1
  const fits = types.every((type, i) => {
    const isFull = every > 0 && (i + 1) % every === 0
    return type === (isFull ? 'full_attention' : 'sliding_attention')
  })
  if (!fits) throw hub.refuse('this order of full and sliding attention')
  if (every === 1) return {}
  return every === 0 ? { window } : { window, fullEvery: every }
}

const MAX_BLOCKS = 2 ** 12

/** As in Qwen: a window only if `use_sliding_window` is set, from block `max_window_layers` on. */
export function qwenWindow(
  hub: HubFacts,
  blockCount: number
): { window?: number; fullEvery?: number } {
  if (!hub.flag('use_sliding_window', false)) return {}
  const first = hub.optional('max_window_layers') ?? 0
  return alternatingWindow(hub, blockCount, (block) =>
    block < first ? 'full_attention' : 'sliding_attention'
  )
}
