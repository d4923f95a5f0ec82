// Reads config.json as most families of the hub write it; each family adds what is its own.
// Knows no tensors.
import { corrupt, unsupported } from '../../base/errors.ts'
import { type JsonObject, numberOf } from '../formats/json-file.ts'
import type { Family, ModelConfig } from '../types.ts'
import { ropeFromHub } from './rope.ts'

/** Typed reads of a config.json, and the words to refuse one. */
export class HubFacts {
  readonly json: JsonObject
  /** The model's name, shown to people. */
  readonly name: string

  /** @throws AppError UNSUPPORTED for weights in a format of their own */
  constructor(json: JsonObject, name: string) {
    this.json = json
    this.name = name
    if (json['quantization_config']) throw this.refuse('a quantised folder')
  }

  /** The first of `keys` that is there. */
  optional(...keys: readonly string[]): number | undefined {
    for (const key of keys) {
      const value = numberOf(this.json, key)
      if (value !== undefined) return value
    }
    return undefined
  }

  required(...keys: readonly string[]): number {
    const value = this.optional(...keys)
    if (value !== undefined) return value
    throw corrupt(`The model cannot be opened: config.json has no '${keys[0]}'`)
  }

  flag(key: string, otherwise: boolean): boolean {
    const value = this.json[key] ?? otherwise
    if (typeof value === 'boolean') return value
    throw corrupt(`'${key}' of config.json is no flag`)
  }

  /** @throws AppError UNSUPPORTED unless the activation, or its default, is one of `known`. */
  checkActivation(otherwise: string, ...known: readonly string[]): void {
    const { json } = this
    const name = json['hidden_activation'] ?? json['hidden_act'] ?? json['activation_function']
    const activation = name ?? json['activation'] ?? otherwise
    if (!known.includes(String(activation))) {
      throw this.refuse(`the activation '${String(activation)}'`)
    }
  }

  refuse(what: string): Error {
    return unsupported(`The model cannot be run: ${what} is not supported yet`)
  }
}

/** What families of Llama's kind have in common. */
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

/** What a block may be called in `layer_types`. */
export type LayerType = 'full_attention' | 'sliding_attention'

/**
 * Which blocks have `sliding_window`, as `layer_types` says or else `otherwise`.
 * @throws AppError UNSUPPORTED for a pattern other than a full block after so many with a window
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

/** Qwen's way: a window only where `use_sliding_window` says so, from block `max_window_layers` on. */
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
