// Checks, before any memory is allocated by them, whether a config's facts are plausible and
// whether a model's tensors are those that its config requires.
import { corrupt, unsupported } from '../base/errors.ts'
import { factsOf } from './families.ts'
import { isExpert, type Part } from './families/facts.ts'
import { rotaryOf } from './families/rope.ts'
import type { ModelConfig, TensorStore } from './types.ts'

/** Each limit with the largest known value. */
const MAX_COUNTS: Partial<Record<keyof ModelConfig, number>> = {
  hiddenSize: 2 ** 17, // 16,384
  blockCount: 2 ** 12, // 126
  headCount: 2 ** 12, // 128
  kvHeadCount: 2 ** 12,
  headDim: 2 ** 12, // 256
  ffnSize: 2 ** 20, // 65,536
  vocabSize: 2 ** 23, // 262,144
  contextLength: 2 ** 30 // 10 M
}
const MAX_OPTIONAL_COUNTS: Partial<Record<keyof ModelConfig, number>> = {
  window: 2 ** 30, // 4096
  fullEvery: 2 ** 12, // 6
  expertCount: 2 ** 12, // 512
  expertsPerToken: 2 ** 12 // 10
}
/** Optional facts that must be numbers over 0. */
const SCALES = [
  'ropeScale',
  'attentionScale',
  'attentionSoftCap',
  'headSoftCap',
  'embeddingScale'
] as const

/**
 * Refuses facts that no real model has, before memory is allocated by them. @throws AppError
 * CORRUPT
 */
export function checkConfig(config: ModelConfig): ModelConfig {
  const bad = (why: string): Error => corrupt(`The model cannot be opened: ${why}`)
  const limits = { ...MAX_COUNTS, ...MAX_OPTIONAL_COUNTS }
  for (const [key, limit] of Object.entries(limits)) {
    const value = config[key as keyof ModelConfig]
    if (value === undefined && key in MAX_OPTIONAL_COUNTS) continue
    if (!(Number.isInteger(value) && (value as number) >= 1 && (value as number) <= limit)) {
      throw bad(`${key} is ${String(value)}, not 1 to ${limit}`)
    }
  }
  const { headCount, kvHeadCount, headDim, rmsEps, ropeTheta, ropeLocalTheta } = config
  if (headCount % kvHeadCount !== 0) {
    throw bad(`${headCount} heads cannot share ${kvHeadCount} key and value heads evenly`)
  }
  if (headDim % 2 !== 0) throw bad(`the head size ${headDim} is odd`)
  if (!(rmsEps > 0 && rmsEps < 1)) throw bad(`the norm's epsilon is ${rmsEps}`)
  for (const theta of [ropeTheta, ropeLocalTheta ?? 1]) {
    if (!(theta >= 1 && theta < Infinity)) throw bad(`the RoPE base is ${theta}`)
  }
  const { ropeFactors } = config
  const rotary = rotaryOf(config)
  if (!(Number.isInteger(rotary / 2) && rotary >= 2 && rotary <= headDim)) {
    throw bad(`RoPE rotates ${rotary} values of a head of ${headDim}`)
  }
  if (ropeFactors && !(ropeFactors.length === rotary / 2 && ropeFactors.every(isFactor))) {
    throw bad(`the RoPE factors are no ${rotary / 2} numbers over 0`)
  }
  for (const key of SCALES) {
    if (!isFactor(config[key] ?? 1)) throw bad(`${key} is ${config[key]}`)
  }
  checkExperts(config, bad)
  return Object.freeze(config)
}

function checkExperts(config: ModelConfig, bad: (why: string) => Error): void {
  const { expertCount, expertsPerToken } = config
  if ((expertCount === undefined) !== (expertsPerToken === undefined)) {
    throw bad(`it has ${expertCount ?? 'no'} experts and uses ${expertsPerToken ?? 'no'}`)
  }
  if ((expertsPerToken ?? 0) > (expertCount ?? 0)) {
    throw bad(`${expertsPerToken} of ${expertCount} experts cannot be used`)
  }
}

/** Whether a number can safely be multiplied and divided by. */
export function isFactor(value: number): boolean {
  return value > 1e-9 && value < 1e9
}

interface Expected {
  readonly name: string
  readonly shape: readonly number[]
  readonly optional: boolean
}

/**
 * Checks that every required tensor is there, none is unknown, and all shapes are right.
 * @throws AppError CORRUPT, or UNSUPPORTED for tensors that we would ignore
 */
export function checkTensors(config: ModelConfig, store: TensorStore): void {
  const expected = new Map<string, Expected>()
  let needed = 0
  for (const each of expectedTensors(config)) {
    expected.set(each.name, each)
    if (!each.optional) needed++
    // A claim of many blocks and experts must not cost more than the size of the file that makes
    // it.
    if (needed > store.list().length) break
  }
  if (needed > store.list().length) checkMissing(expected.values(), store)
  for (const { name, shape } of store.list()) {
    const want = expected.get(name)
    if (!want) {
      throw unsupported(
        `The model cannot be run: it has '${name}', which ${config.family} models here have not`
      )
    }
    if (want.shape.length !== shape.length || want.shape.some((size, i) => size !== shape[i])) {
      throw corrupt(
        `The model cannot be opened: tensor '${name}' is [${shape.join(', ')}], not [${want.shape.join(', ')}]`
      )
    }
  }
  checkMissing(expected.values(), store)
}

function checkMissing(expected: Iterable<Expected>, store: TensorStore): void {
  for (const { name, optional } of expected) {
    if (!optional && !store.has(name)) {
      throw corrupt(`The model cannot be opened: tensor '${name}' is missing`)
    }
  }
}

/** All tensors that a model of `config` may have, block by block. */
function* expectedTensors(config: ModelConfig): Generator<Expected> {
  const facts = factsOf(config.family)
  for (const part of facts.outer) yield* tensorsOf(part, config, '')
  const parts = facts.block(config)
  for (let i = 0; i < config.blockCount; i++) {
    for (const part of parts) yield* tensorsOf(part, config, `model.layers.${i}.`)
  }
}

function* tensorsOf(part: Part, config: ModelConfig, prefix: string): Generator<Expected> {
  const shape = part.shape(config)
  const count = isExpert(part) ? (config.expertCount ?? 0) : 1
  const optional = part.isOptional?.(config) ?? false
  for (let expert = 0; expert < count; expert++) {
    const name = `${prefix}${part.name.replace('*', String(expert))}`
    yield { name: `${name}.weight`, shape, optional }
    if (part.bias) {
      const isOptional = optional || part.bias === 'may'
      yield { name: `${name}.bias`, shape: shape.slice(0, 1), optional: isOptional }
    }
  }
}
