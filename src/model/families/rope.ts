// RoPE's base and how its frequencies are stretched for long contexts, as factors of each.
// Numbers only; the tables are made by blocks/weights/fill-weights.ts.
import { corrupt } from '../../base/errors.ts'
import { numberOf, type JsonObject } from '../formats/json-file.ts'
import type { ModelConfig } from '../types.ts'
import type { HubFacts } from './hub-config.ts'

type RopeConfig = Pick<ModelConfig, 'ropeTheta' | 'ropeFactors'>

/** `rope_theta` with `rope_scaling`, or both in `rope_parameters`. */
export function ropeFromHub(hub: HubFacts, headDim: number): RopeConfig {
  const rope = objectOf(hub.json['rope_parameters'] ?? hub.json['rope_scaling'])
  // As float32, like a GGUF holds them, so that one model has one content id in both.
  const ropeTheta = Math.fround(
    numberOf(rope, 'rope_theta') ?? hub.optional('rope_theta') ?? 10_000
  )
  const kind = rope['rope_type'] ?? rope['type'] ?? 'default'
  const need = (key: string): number => {
    const value = numberOf(rope, key)
    if (value === undefined || !(value > 0 && value < Infinity)) {
      throw corrupt(`The model cannot be opened: RoPE scaling '${String(kind)}' has no '${key}'`)
    }
    return value
  }
  if (headDim > MAX_HEAD_DIM) throw corrupt(`The model cannot be opened: a head of ${headDim}`)
  switch (kind) {
    case 'default':
      return { ropeTheta }
    case 'linear':
      return { ropeTheta, ropeFactors: linearFactors(headDim, need('factor')) }
    case 'llama3':
      return {
        ropeTheta,
        ropeFactors: llama3Factors(headDim, ropeTheta, {
          factor: need('factor'),
          lowFactor: need('low_freq_factor'),
          highFactor: need('high_freq_factor'),
          context:
            numberOf(rope, 'original_max_position_embeddings') ??
            hub.required('original_max_position_embeddings', 'max_position_embeddings')
        })
      }
    default:
      throw hub.refuse(`RoPE scaling '${String(kind)}'`)
  }
}

/** Before checkConfig has seen the config, a hostile size must not become an array. */
const MAX_HEAD_DIM = 2 ** 12

/** Every frequency divided by `factor`: positions are squeezed together. */
export function linearFactors(headDim: number, factor: number): readonly number[] {
  return Object.freeze(Array.from({ length: headDim / 2 }, () => Math.fround(factor)))
}

export interface Llama3Scaling {
  factor: number
  lowFactor: number
  highFactor: number
  /** Tokens that the model was first trained for. */
  context: number
}

/** Slow frequencies divided by `factor`, fast ones kept, those between blended. */
export function llama3Factors(
  headDim: number,
  theta: number,
  scaling: Llama3Scaling
): readonly number[] {
  const { factor, lowFactor, highFactor, context } = scaling
  const factors = Array.from({ length: headDim / 2 }, (_, i) => {
    const turns = (context * theta ** ((-2 * i) / headDim)) / (2 * Math.PI)
    if (turns < lowFactor) return Math.fround(factor)
    if (turns > highFactor) return 1
    const kept = (turns - lowFactor) / (highFactor - lowFactor)
    return Math.fround(1 / ((1 - kept) / factor + kept))
  })
  return Object.freeze(factors)
}

function objectOf(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null ? (value as JsonObject) : {}
}
