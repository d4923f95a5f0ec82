// What a training changes, as lists of numbers by name, and what of them travels with its steps.
// Knows no optimiser and no files.
import { power } from '../base/double-math.ts'
import { seededRandom } from '../base/random.ts'
import type { AdapterShape } from '../blocks/train/adapter-shape.ts'
import type { ModelConfig } from '../model/types.ts'
import { newAdapter } from './adapter/new-adapter.ts'
import { newScore } from './classify/score-head.ts'
import { addInto } from './optimise/vectors.ts'
import type { ChainAdapter } from './swarm/chain.ts'

/**
 * `lora`: low-rank additions to the blocks' matrices. `prompt`: rows before the tokens' own.
 * `deep-prompt`: besides, rows that are added to the first rows of each block's input.
 */
export type TuneMethod = 'lora' | 'prompt' | 'deep-prompt'

export interface TuneShape {
  readonly method: TuneMethod
  /** Of `lora`. */
  readonly adapter?: AdapterShape | undefined
  /**
   * Its matrices count alpha / sqrt(rank), and not alpha / rank; the shape's scale says it, too.
   */
  readonly isRankStable?: true | undefined
  /** Share of the values that an adapter does not read in a step of training, a float32. */
  readonly dropout?: number | undefined
  /** Rows of `prompt` and `deep-prompt`. */
  readonly positions?: number | undefined
  /** Names of the classes that texts are told apart by; a matrix for them is trained, too. */
  readonly labels?: readonly string[] | undefined
}

/** Lists of numbers by name; absent where the method has none. */
export interface TuneValues {
  /** As adapter-shape.ts says. */
  readonly adapter?: Float32Array | undefined
  /** (positions, hiddenSize) */
  readonly prompt?: Float32Array | undefined
  /** (blocks, positions, hiddenSize) */
  readonly deepPrompt?: Float32Array | undefined
  /** (classes, hiddenSize) */
  readonly score?: Float32Array | undefined
}

export const VALUE_NAMES = ['adapter', 'prompt', 'deepPrompt', 'score'] as const

/** Numbers to begin with; the same seed gives the same ones. */
export function newValues(config: ModelConfig, shape: TuneShape, seed: number): TuneValues {
  const { method, adapter, positions = 0, labels } = shape
  const score = labels && newScore(config, labels.length, seed)
  if (method === 'lora') {
    if (adapter === undefined) throw new TypeError('LoRA has a shape')
    return { adapter: newAdapter(config, adapter, seed), score }
  }
  const { hiddenSize, blockCount } = config
  const random = seededRandom(seed)
  // Of embeddings' size, roughly; deep prompts begin by changing nothing.
  const scale = power(hiddenSize, -0.5)
  const prompt = Float32Array.from(
    { length: positions * hiddenSize },
    () => (2 * random.next() - 1) * scale
  )
  if (method === 'prompt') return { prompt, score }
  return { prompt, deepPrompt: new Float32Array(blockCount * positions * hiddenSize), score }
}

/** A list of numbers of the same sizes, all 0. */
export function zeros(values: TuneValues): TuneValues {
  const of = (list: Float32Array | undefined): Float32Array | undefined =>
    list && new Float32Array(list.length)
  return {
    adapter: of(values.adapter),
    prompt: of(values.prompt),
    deepPrompt: of(values.deepPrompt),
    score: of(values.score)
  }
}

/** into += from, list by list. */
export function addValues(into: TuneValues, from: TuneValues): void {
  for (const name of VALUE_NAMES) {
    const [sum, added] = [into[name], from[name]]
    if (sum === undefined || added === undefined) continue
    addInto(sum, added)
  }
}

/** The adapter as a chain takes it: a copy, since the numbers change with the next step. */
export function chainAdapter(shape: TuneShape, values: TuneValues): ChainAdapter | undefined {
  if (shape.adapter === undefined || values.adapter === undefined) return undefined
  return { shape: shape.adapter, values: values.adapter.slice() }
}
