// RoPE's base, and how its frequencies are scaled for long contexts, as a factor for each
// frequency: linear, Llama 3's, YaRN and LongRoPE, in the notations of hub configs and GGUFs. Pure
// numbers; blocks/weights/fill-weights.ts makes the tables.
import { log, power } from '../../base/double-math.ts'
import { corrupt } from '../../base/errors.ts'
import { type JsonObject, numberOf } from '../formats/json-file.ts'
import type { ModelConfig } from '../types.ts'
import type { GgufFacts } from './gguf-facts.ts'
import type { HubFacts } from './hub-facts.ts'

type RopeConfig = Pick<ModelConfig, 'ropeTheta' | 'rotaryDim' | 'ropeFactors' | 'ropeScale'>

/** checkConfig has not run yet: a hostile size must not become an array. */
const MAX_HEAD_DIM = 2 ** 12

/** Values of each head that RoPE rotates. */
export function rotaryOf(config: Pick<ModelConfig, 'headDim' | 'rotaryDim'>): number {
  return config.rotaryDim ?? config.headDim
}

/** From a hub's config: `rope_theta` with `rope_scaling`, or both in `rope_parameters`. */
export function ropeFromHub(
  hub: HubFacts,
  headDim: number
): RopeConfig & { contextLength?: number } {
  if (headDim > MAX_HEAD_DIM) throw corrupt(`The model cannot be opened: a head of ${headDim}`)
  const rope = objectOf(hub.json['rope_parameters'] ?? hub.json['rope_scaling'])
  const share = numberOf(rope, 'partial_rotary_factor') ?? hub.optional(...PARTIAL_KEYS) ?? 1
  if (!(share > 0 && share <= 1)) {
    throw corrupt(`The model cannot be opened: RoPE over ${share} of a head`)
  }
  // Rounded down, as transformers does.
  const rotary = share === 1 ? headDim : Math.floor(headDim * share)
  return { ...partOf(rotary, headDim), ...scaledFromHub(hub, rope, rotary) }
}

/** `rotary` is the width that frequencies are spread over. */
function scaledFromHub(
  hub: HubFacts,
  rope: JsonObject,
  rotary: number
): RopeConfig & { contextLength?: number } {
  // Rounded to float32, as in a GGUF, so that a model has the same content id in both.
  const ropeTheta = Math.fround(
    numberOf(rope, 'rope_theta') ?? hub.optional('rope_theta') ?? 10_000
  )
  const kind = rope['rope_type'] ?? rope['type'] ?? 'default'
  const more = (key: string): number | undefined => {
    const value = numberOf(rope, key)
    if (value === undefined || (value > 0 && value < Infinity)) return value
    throw corrupt(
      `The model cannot be opened: RoPE scaling '${String(kind)}' has '${key}' ${value}`
    )
  }
  const need = (key: string): number => {
    const value = more(key)
    if (value !== undefined) return value
    throw corrupt(`The model cannot be opened: RoPE scaling '${String(kind)}' has no '${key}'`)
  }
  const original = (): number =>
    more('original_max_position_embeddings') ??
    hub.required('original_max_position_embeddings', 'max_position_embeddings')
  switch (kind) {
    case 'default':
      return { ropeTheta }
    case 'linear':
      return { ropeTheta, ropeFactors: linearFactors(rotary, need('factor')) }
    case 'llama3':
      return {
        ropeTheta,
        ropeFactors: llama3Factors(rotary, ropeTheta, {
          factor: need('factor'),
          lowFactor: need('low_freq_factor'),
          highFactor: need('high_freq_factor'),
          context: original()
        })
      }
    case 'yarn': {
      const context = original()
      const factor = more('factor') ?? hub.required('max_position_embeddings') / context
      const own = more('attention_factor')
      const [mscale, all] = [more('mscale'), more('mscale_all_dim')]
      const scale =
        own ??
        (mscale && all ? yarnScale(factor, mscale) / yarnScale(factor, all) : yarnScale(factor))
      const ropeFactors = yarnFactors(rotary, ropeTheta, {
        factor,
        context,
        fast: more('beta_fast') ?? FAST_TURNS,
        slow: more('beta_slow') ?? SLOW_TURNS,
        isWhole: rope['truncate'] !== false
      })
      return { ropeTheta, ropeFactors, ...scaleOf(scale) }
    }
    case 'longrope':
    case 'su': {
      const context = original()
      const factor = more('factor') ?? hub.required('max_position_embeddings') / context
      const long = factor <= 1 ? 1 : Math.sqrt(1 + log(factor) / log(context))
      const ropeFactors = listOf(rope['short_factor'], rotary)
      // The long factors would be another model: a session that grows into them would have to be
      // rotated anew.
      return {
        ropeTheta,
        ropeFactors,
        ...scaleOf(more('attention_factor') ?? long),
        contextLength: context
      }
    }
    default:
      throw hub.refuse(`RoPE scaling '${String(kind)}'`)
  }
}

const PARTIAL_KEYS = ['partial_rotary_factor', 'rotary_pct'] as const

/**
 * From a GGUF. As in llama.cpp, a factor without a type is linear. Llama 3's factors are a tensor.
 */
export function ropeFromGguf(gguf: GgufFacts, headDim: number): RopeConfig {
  if (headDim > MAX_HEAD_DIM) throw corrupt(`The model cannot be opened: a head of ${headDim}`)
  const rotary = gguf.optional('rope.dimension_count') ?? headDim
  return { ...partOf(rotary, headDim), ...scaledFromGguf(gguf, rotary) }
}

function partOf(rotary: number, headDim: number): Pick<ModelConfig, 'rotaryDim'> {
  if (rotary === headDim) return {}
  if (rotary > 0 && rotary < headDim && rotary % 2 === 0) return { rotaryDim: rotary }
  throw corrupt(`The model cannot be opened: RoPE over ${rotary} values of a head of ${headDim}`)
}

function scaledFromGguf(gguf: GgufFacts, rotary: number): RopeConfig {
  const ropeTheta = gguf.optional('rope.freq_base') ?? 10_000
  const factor = gguf.optional('rope.scaling.factor') ?? gguf.optional('rope.scale_linear') ?? 0
  const kind = gguf.text('rope.scaling.type') ?? 'linear'
  if (!(factor >= 0 && factor < Infinity)) {
    throw corrupt(`The GGUF cannot be opened: its RoPE is scaled by ${factor}`)
  }
  // Converters write it whether or not it is used.
  const own = gguf.optional('rope.scaling.attn_factor') ?? 0
  gguf.ignore('rope.scaling.finetuned', 'rope.scaling.original_context_length')
  switch (kind) {
    case 'none':
      return { ropeTheta }
    case 'linear':
      if (own !== 0 && own !== 1) throw gguf.refuse("'rope.scaling.attn_factor' of linear scaling")
      if (factor === 0 || factor === 1) return { ropeTheta }
      return { ropeTheta, ropeFactors: linearFactors(rotary, factor) }
    case 'yarn': {
      if (factor === 0 || factor === 1) return { ropeTheta }
      const extra = gguf.optional('rope.scaling.yarn_ext_factor') ?? -1
      if (extra !== -1 && extra !== 1) throw gguf.refuse(`a YaRN extrapolation of ${extra}`)
      const multiplier = gguf.optional('rope.scaling.yarn_log_multiplier') ?? 0
      if (multiplier !== 0) throw gguf.refuse(`a YaRN multiplier of ${multiplier}`)
      const attention = gguf.optional('rope.scaling.yarn_attn_factor') ?? (own === 0 ? 1 : own)
      const context = gguf.optional('rope.scaling.original_context_length')
      const ropeFactors = yarnFactors(rotary, ropeTheta, {
        factor,
        context: context ?? gguf.required('context_length'),
        fast: gguf.optional('rope.scaling.yarn_beta_fast') ?? FAST_TURNS,
        slow: gguf.optional('rope.scaling.yarn_beta_slow') ?? SLOW_TURNS,
        isWhole: true
      })
      return { ropeTheta, ropeFactors, ...scaleOf(attention * yarnScale(factor)) }
    }
    default:
      throw gguf.refuse(`RoPE scaling '${kind}'`)
  }
}

function scaleOf(scale: number): Pick<ModelConfig, 'ropeScale'> {
  return scale === 1 ? {} : { ropeScale: Math.fround(scale) }
}

function listOf(value: unknown, rotary: number): readonly number[] {
  const isList = Array.isArray(value) && value.length === rotary / 2
  if (!isList || !value.every((each) => typeof each === 'number')) {
    throw corrupt(`The model cannot be opened: 'short_factor' is no list of ${rotary / 2} numbers`)
  }
  return Object.freeze(value.map((each: number) => Math.fround(each)))
}

/** Divides every frequency by `factor`: positions move closer together. */
export function linearFactors(rotary: number, factor: number): readonly number[] {
  return Object.freeze(Array.from({ length: rotary / 2 }, () => Math.fround(factor)))
}

export interface Llama3Scaling {
  factor: number
  lowFactor: number
  highFactor: number
  /** Tokens of the original training context. */
  context: number
}

/** Divides slow frequencies by `factor`, keeps fast ones, and blends those between. */
export function llama3Factors(
  rotary: number,
  theta: number,
  scaling: Llama3Scaling
): readonly number[] {
  const { factor, lowFactor, highFactor, context } = scaling
  const factors = Array.from({ length: rotary / 2 }, (_, i) => {
    const turns = (context * power(theta, (-2 * i) / rotary)) / (2 * Math.PI)
    if (turns < lowFactor) return Math.fround(factor)
    if (turns > highFactor) return 1
    const kept = (turns - lowFactor) / (highFactor - lowFactor)
    return Math.fround(1 / ((1 - kept) / factor + kept))
  })
  return Object.freeze(factors)
}

/**
 * Rotations within the original context from which a frequency is kept, and below which it is
 * divided.
 */
const FAST_TURNS = 32
const SLOW_TURNS = 1

export interface YarnScaling {
  factor: number
  /** Tokens of the original training context. */
  context: number
  fast: number
  slow: number
  /** Whether the ramp starts and ends at whole frequency numbers. */
  isWhole: boolean
}

/** Keeps fast frequencies, divides slow ones by `factor`, with a ramp between. */
export function yarnFactors(
  rotary: number,
  theta: number,
  { factor, context, fast, slow, isWhole }: YarnScaling
): readonly number[] {
  const at = (turns: number): number =>
    (rotary * log(context / (turns * 2 * Math.PI))) / (2 * log(theta))
  const first = Math.max(0, isWhole ? Math.floor(at(fast)) : at(fast))
  const end = Math.min(rotary - 1, isWhole ? Math.ceil(at(slow)) : at(slow))
  const width = Math.max(0.001, end - first)
  const factors = Array.from({ length: rotary / 2 }, (_, i) => {
    const divided = Math.min(1, Math.max(0, (i - first) / width))
    return Math.fround(1 / (divided / factor + (1 - divided)))
  })
  return Object.freeze(factors)
}

/** YaRN's factor of cosines and sines. */
function yarnScale(factor: number, multiplier = 1): number {
  return factor <= 1 ? 1 : 0.1 * multiplier * log(factor) + 1
}

function objectOf(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null ? (value as JsonObject) : {}
}
