// Turns logits into the next token id: penalty, temperature, top-k, top-p, min-p, seeded choice.
// Knows no peers and no tokenizer. The same seed over the same logits gives the same ids on every
// machine, because exp and log are our own.
import { exp, log } from '../../base/double-math.ts'
import { badInput, computeError } from '../../base/errors.ts'
import type { LogitsProcessor } from './logits.ts'
import { freshSeed, seededRandom, type Random } from '../../base/random.ts'

export interface SamplingOptions {
  /** 0 is greedy. Default 0.7. */
  temperature?: number
  /** Keeps the smallest set whose probability reaches this. Default 0.95; 1 keeps all. */
  topP?: number
  /** Keeps this many of the most probable. Default 0: all. */
  topK?: number
  /** Drops what is less probable than this share of the most probable. Default 0. */
  minP?: number
  /** Divides (multiplies, if negative) logits of recent ids. Default 1: no penalty. */
  repetitionPenalty?: number
  /** Number of recent ids that are penalised. Default 64. */
  repetitionWindow?: number
  /** Default: random. */
  seed?: number
}

export type Sampling = Readonly<Required<SamplingOptions>>

/** Fills in defaults and refuses nonsense. @throws AppError BAD_INPUT */
export function resolveSampling(options: SamplingOptions = {}): Sampling {
  const sampling: Sampling = Object.freeze({
    temperature: options.temperature ?? 0.7,
    topP: options.topP ?? 0.95,
    topK: options.topK ?? 0,
    minP: options.minP ?? 0,
    repetitionPenalty: options.repetitionPenalty ?? 1,
    repetitionWindow: options.repetitionWindow ?? 64,
    seed: options.seed ?? freshSeed()
  })
  for (const name of Object.keys(RANGES) as (keyof Sampling)[]) check(name, sampling[name])
  return sampling
}

interface Range {
  readonly title: string
  readonly low: number
  readonly high: number
  readonly whole?: boolean
}

const RANGES: Readonly<Record<keyof Sampling, Range>> = {
  temperature: { title: 'temperature', low: 0, high: 100 },
  topP: { title: 'top-p', low: Number.MIN_VALUE, high: 1 },
  topK: { title: 'top-k', low: 0, high: 2 ** 31, whole: true },
  minP: { title: 'min-p', low: 0, high: 1 },
  repetitionPenalty: { title: 'repetition penalty', low: 0.01, high: 100 },
  repetitionWindow: { title: 'repetition window', low: 0, high: 2 ** 31, whole: true },
  seed: { title: 'seed', low: 0, high: Number.MAX_SAFE_INTEGER, whole: true }
}

/** The allowed values of a sampling option, in words. */
export function samplingRange(name: keyof Sampling): string {
  const { low, high, whole = false } = RANGES[name]
  const least = low === Number.MIN_VALUE ? 'over 0, at most' : `from ${low} to`
  return `a ${whole ? 'whole ' : ''}number ${least} ${high}`
}

function check(name: keyof Sampling, value: number): void {
  const { title, low, high, whole = false } = RANGES[name]
  if (value >= low && value <= high && (!whole || Number.isInteger(value))) return
  throw badInput(`The ${title} cannot be '${value}'`, { advice: `Give ${samplingRange(name)}` })
}

/** Ids with probabilities, most probable first, summing to 1. */
export interface Distribution {
  readonly ids: Int32Array
  readonly probabilities: Float64Array
}

/**
 * Index of the largest logit; of equal ones the lowest id.
 * @throws AppError COMPUTE if none is finite
 */
export function argmax(logits: Float32Array): number {
  let best = -1
  let value = -Infinity
  for (let i = 0; i < logits.length; i++) {
    if (logits[i]! > value) {
      value = logits[i]!
      best = i
    }
  }
  if (best < 0 || value === Infinity) {
    throw computeError('No token can be chosen: the logits are not finite')
  }
  return best
}

/**
 * What the sampler would draw from at this position; speculation compares draft and target by it.
 * @param logits (vocabSize), not modified
 * @param recent ids already in the text, oldest first
 */
export function distribution(
  logits: Float32Array,
  sampling: Sampling,
  recent: readonly number[]
): Distribution {
  const penalised = penalise(logits, sampling, recent)
  if (sampling.temperature === 0) {
    return { ids: Int32Array.of(argmax(penalised)), probabilities: Float64Array.of(1) }
  }
  const { ids, peak, total } = candidates(penalised, sampling)
  const probabilities = new Float64Array(ids.length)
  for (let i = 0; i < ids.length; i++) {
    probabilities[i] = exp((penalised[ids[i]!]! - peak) / sampling.temperature)
  }
  const kept = keep(probabilities, total, sampling)
  let keptTotal = 0
  for (let i = 0; i < kept; i++) keptTotal += probabilities[i]!
  const result = probabilities.slice(0, kept)
  for (let i = 0; i < kept; i++) result[i] = result[i]! / keptTotal
  return { ids: ids.subarray(0, kept), probabilities: result }
}

/**
 * Draws from a distribution with one random number, even if the outcome is certain: see
 * createSampler.
 */
export function draw(from: Distribution, random: Random): number {
  let left = random.next()
  for (let i = 0; i < from.ids.length; i++) {
    left -= from.probabilities[i]!
    if (left < 0) return from.ids[i]!
  }
  return from.ids[from.ids.length - 1]!
}

export interface Sampler {
  readonly sampling: Sampling
  /** Chooses the next id. `logits` (vocabSize). */
  next(logits: Float32Array, recent: readonly number[]): number
}

/**
 * @param drawn ids that were drawn before. Each took one random number, so seed and count are the
 * whole state, and an answer can be continued elsewhere
 */
export function createSampler(
  options: SamplingOptions = {},
  drawn = 0,
  processors: readonly LogitsProcessor[] = []
): Sampler {
  const sampling = resolveSampling(options)
  const random = seededRandom(sampling.seed)
  for (let i = 0; i < drawn; i++) random.next()
  return {
    sampling,
    next(logits, recent) {
      const changed = processors.reduce((now, one) => one.process(now, recent), logits)
      const id = draw(distribution(changed, sampling, recent), random)
      for (const one of processors) one.drew?.(id, logits)
      return id
    }
  }
}

function penalise(
  logits: Float32Array,
  sampling: Sampling,
  recent: readonly number[]
): Float32Array {
  const { repetitionPenalty: penalty, repetitionWindow: window } = sampling
  if (penalty === 1 || window === 0 || recent.length === 0) return logits
  const result = logits.slice()
  for (const id of new Set(recent.slice(-window))) {
    const value = result[id]
    if (value === undefined) continue
    result[id] = value > 0 ? value / penalty : value * penalty
  }
  return result
}

// Below this share of the peak a token cannot be drawn: e^-40 is under 53 bits over any vocabulary.
const NEGLIGIBLE = 40

interface Candidates {
  /** Most probable first; all that top-k and top-p can keep. */
  readonly ids: Int32Array
  /** The largest logit. */
  readonly peak: number
  /** Sum of e^((logit - peak) / temperature) over everything that top-k leaves. */
  readonly total: number
}

// Sorting a whole vocabulary takes longer than many a trip, and top-p keeps only a few ids. So one
// pass first counts them by distance below the peak, in e-folds, and the unlikely ones are left
// out.
function candidates(logits: Float32Array, sampling: Sampling): Candidates {
  const { temperature, minP, topK, topP } = sampling
  const peak = logits[argmax(logits)]!
  const floor = Math.max(
    peak - NEGLIGIBLE * temperature,
    minP > 0 ? peak + log(minP) * temperature : -Infinity
  )
  const weights = new Float64Array(NEGLIGIBLE + 1)
  const counts = new Int32Array(NEGLIGIBLE + 1)
  let total = 0
  for (let i = 0; i < logits.length; i++) {
    if (!(logits[i]! >= floor)) continue
    const below = (peak - logits[i]!) / temperature
    const weight = exp(-below)
    const fold = Math.min(NEGLIGIBLE, Math.floor(below))
    weights[fold] = weights[fold]! + weight
    counts[fold] = counts[fold]! + 1
    total += weight
  }
  // Slightly more than top-p, so that another order of summation cannot leave out the id that
  // reaches it.
  const enough = topK > 0 || topP >= 1 ? Infinity : topP * total * (1 + 1e-9)
  let folds = 0
  let count = 0
  for (let weight = 0; folds <= NEGLIGIBLE; folds++) {
    if (weight >= enough || (topK > 0 && count >= topK)) break
    weight += weights[folds]!
    count += counts[folds]!
  }
  const found = new Int32Array(count)
  let at = 0
  for (let i = 0; i < logits.length; i++) {
    if (!(logits[i]! >= floor)) continue
    const fold = Math.min(NEGLIGIBLE, Math.floor((peak - logits[i]!) / temperature))
    if (fold < folds) found[at++] = i
  }
  const sorted = sortByLogit(found, logits)
  if (topK === 0) return { ids: sorted, peak, total }
  const ids = sorted.subarray(0, topK)
  total = 0
  for (const id of ids) total += exp((logits[id]! - peak) / temperature)
  return { ids, peak, total }
}

const ID_BITS = 2 ** 21

/**
 * Largest logit first, lower ids first among equals. Native sorting of numbers is 5 times faster.
 */
function sortByLogit(ids: Int32Array, logits: Float32Array): Int32Array {
  const keys = new Float64Array(ids.length)
  const value = new Float32Array(1)
  const bits = new Uint32Array(value.buffer)
  for (let i = 0; i < ids.length; i++) {
    // + 0 turns -0 into 0, which it equals.
    value[0] = logits[ids[i]!]! + 0
    const ascending = bits[0]! >= 0x80000000 ? 0xffffffff - bits[0]! : bits[0]! + 0x80000000
    keys[i] = (0xffffffff - ascending) * ID_BITS + ids[i]!
  }
  keys.sort()
  const sorted = new Int32Array(ids.length)
  for (let i = 0; i < keys.length; i++) sorted[i] = keys[i]! % ID_BITS
  return sorted
}

function keep(probabilities: Float64Array, total: number, sampling: Sampling): number {
  if (sampling.topP >= 1) return probabilities.length
  let sum = 0
  for (let i = 0; i < probabilities.length; i++) {
    sum += probabilities[i]! / total
    if (sum >= sampling.topP) return i + 1
  }
  return probabilities.length
}
