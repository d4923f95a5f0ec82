// Reads config.json as most families of the hub write it; each family adds what is its own.
// Knows no tensors.
import { corrupt, unsupported } from '../../base/errors.ts'
import { type JsonObject, numberOf } from '../json-file.ts'
import type { Family, ModelConfig } from '../types.ts'
import { ropeFromHub } from './rope.ts'

/** Typed reads of a config.json, and the words to refuse one. */
export class HubFacts {
  readonly json: JsonObject
  /** The model's name, shown to people. */
  readonly name: string

  constructor(json: JsonObject, name: string) {
    this.json = json
    this.name = name
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
  if (hub.json['quantization_config']) throw hub.refuse('a quantised folder')
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

/**
 * A window in all blocks but each nth, as `layer_types` lists it or else every `otherwise`th.
 * @throws AppError UNSUPPORTED for another pattern
 */
export function alternatingWindow(
  hub: HubFacts,
  blockCount: number,
  otherwise: number
): { window?: number; fullEvery?: number } {
  const { window } = windowFromHub(hub)
  if (window === undefined) return {}
  const types = hub.json['layer_types']
  if (!Array.isArray(types)) return { window, fullEvery: otherwise }
  if (types.length !== blockCount) {
    throw corrupt(`The model cannot be opened: ${types.length} layer types, ${blockCount} blocks`)
  }
  const first = types.indexOf('full_attention')
  const fits = types.every(
    (type, i) =>
      type === (first >= 0 && (i + 1) % (first + 1) === 0 ? 'full_attention' : 'sliding_attention')
  )
  if (!fits) throw hub.refuse('this order of full and sliding attention')
  if (first === 0) return {}
  return first < 0 ? { window } : { window, fullEvery: first + 1 }
}
