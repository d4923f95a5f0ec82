// The training loop's parts: a step over some examples with AdamW, and losses of others. Micro-
// batches are under way together, so that every server of the chain has work; their gradients are
// added in the order of the examples, so that the result does not depend on who was faster.
//
// # Design of this room
//
// - tuner.ts: one step: micro-batches, sum of gradients, clipping, AdamW
// - training.ts: the same for programs that bring their own loss or loop
// - micro-batch.ts: a few examples: pass.ts (rows -> chain, and back), losses at the head between
// - parameters.ts: what is trained: an adapter, a prompt, deep prompts
// - run-tuning.ts: a whole training: data, order, schedule, checkpoints, log, the adapter at its
// end
// - swarm/: chain.ts (whole sequences over servers, a failed span done again), train-swarm.ts (who
//   is called, adapters brought), tune-caller.ts (calls over links)
// - data/: lines -> examples -> tokens -> steps; optimise/: AdamW, schedules, clipping; adapter/: a
//   new one; peft's folder
//
// Servers compute in blocks/train by way of server/training; wire/protocol.ts has the calls.
import { seededRandom } from '../base/random.ts'
import { microBatches } from './data/batches.ts'
import type { TokenExample } from './data/tokens.ts'
import { inOrder } from './in-order.ts'
import {
  evaluateMicroBatch,
  learntTokens,
  rowsOf,
  trainMicroBatch,
  type MicroResult
} from './micro-batch.ts'
import { Optimiser, type OptimiserStates, type OptimiserStep } from './optimise/optimiser.ts'
import { chainAdapter, type TuneShape, type TuneValues } from './parameters.ts'
import type { PassParts } from './pass.ts'

export interface TunerOptions extends PassParts {
  readonly shape: TuneShape
  /** Changed by each step. */
  readonly values: TuneValues
  /** Rows of a micro-batch. Default 512. */
  readonly microRows?: number | undefined
  /** Micro-batches under way together. Default 8. */
  readonly parallel?: number | undefined
  /** Of what an adapter does not read, if that is so. Default 0. */
  readonly seed?: number | undefined
}

export interface StepReport {
  /** Mean over learnt tokens. */
  readonly loss: number
  /** Learnt tokens, and rows that went through the model. */
  readonly tokens: number
  readonly rows: number
  /** Of the gradients before they were shortened. */
  readonly norm: number
  /** Share of the classes that were told right, where classes are told apart. */
  readonly accuracy?: number | undefined
}

/** Of examples that are not trained on. */
export type Evaluation = Pick<StepReport, 'loss' | 'accuracy'>

export const MICRO_ROWS = 512
export const PARALLEL = 8

export class Tuner {
  readonly optimiser: Optimiser
  readonly #options: TunerOptions

  /** `states` are those of an earlier training that is gone on with. */
  constructor(options: TunerOptions, states?: OptimiserStates) {
    this.#options = options
    this.optimiser = new Optimiser(options.values, states)
  }

  get values(): TuneValues {
    return this.optimiser.values
  }

  get states(): OptimiserStates {
    return this.optimiser.states
  }

  /**
   * One step of the optimiser over some examples; gradients from before it do not count.
   * @throws AppError as a chain or a loss fails
   */
  async step(
    examples: readonly TokenExample[],
    { signal, ...step }: OptimiserStep & { readonly signal: AbortSignal }
  ): Promise<StepReport> {
    const tokens = examples.reduce((sum, example) => sum + learntTokens(example), 0)
    const weight = Math.fround(1 / Math.max(1, tokens))
    const { optimiser } = this
    optimiser.clear()
    const sums = new Sums()
    const work = { weight, signal, isDropping: true }
    for await (const result of this.#each(examples, work, trainMicroBatch)) {
      sums.add(result)
      if (result.gradients !== undefined) optimiser.add(result.gradients)
    }
    const norm = optimiser.step(step)
    return { ...sums.mean(), tokens, rows: this.#rows(examples), norm }
  }

  /** Examples that are not trained on. */
  async evaluate(examples: readonly TokenExample[], signal: AbortSignal): Promise<Evaluation> {
    const sums = new Sums()
    const work = { weight: 0, signal, isDropping: false }
    for await (const result of this.#each(examples, work, evaluateMicroBatch)) {
      sums.add(result)
    }
    return sums.mean()
  }

  /** Results of micro-batches in their order, while others are under way. */
  #each(
    examples: readonly TokenExample[],
    { weight, signal, isDropping }: { weight: number; signal: AbortSignal; isDropping: boolean },
    run: typeof trainMicroBatch
  ): AsyncGenerator<MicroResult> {
    const { shape, microRows = MICRO_ROWS, parallel = PARALLEL } = this.#options
    const { model, chain, scoreHead } = this.#options
    const { values } = this
    const adapter = chainAdapter(shape, values)
    const positions = shape.positions ?? 0
    const share = isDropping ? shape.dropout : undefined
    // Each example has its own, whatever others travel with it.
    const seeds = share === undefined ? [] : this.#seeds(examples.length)
    const items = examples.map((example, index) => ({ example, seed: seeds[index] ?? 0 }))
    const batches = microBatches(items, ({ example }) => rowsOf(example, positions), microRows)
    const work = (own: readonly Seeded[], all: AbortSignal): Promise<MicroResult> => {
      const dropout = share === undefined ? undefined : { share, seeds: own.map(seedOf) }
      const micro = { examples: own.map(exampleOf), values, adapter, weight, dropout }
      return run({ model, chain, scoreHead }, micro, all)
    }
    return inOrder(batches, work, { parallel, signal })
  }

  /** Other ones in each step. */
  #seeds(count: number): number[] {
    const [state] = Object.values(this.states)
    const { seed = 0 } = this.#options
    const random = seededRandom(BigInt(seed) * 1_000_003n + BigInt(state?.step ?? 0))
    return Array.from({ length: count }, () => random.below(2 ** 32))
  }

  #rows(examples: readonly TokenExample[]): number {
    const { positions = 0 } = this.#options.shape
    return examples.reduce((sum, example) => sum + rowsOf(example, positions), 0)
  }
}

/** Means over the learnt tokens or classes of micro-batches. */
class Sums {
  #loss = 0
  #tokens = 0
  #correct: number | undefined

  add({ loss, tokens, correct }: MicroResult): void {
    this.#loss += loss
    this.#tokens += tokens
    if (correct !== undefined) this.#correct = (this.#correct ?? 0) + correct
  }

  mean(): Evaluation {
    const count = Math.max(1, this.#tokens)
    const loss = this.#loss / count
    return this.#correct === undefined ? { loss } : { loss, accuracy: this.#correct / count }
  }
}

interface Seeded {
  readonly example: TokenExample
  readonly seed: number
}

const exampleOf = ({ example }: Seeded): TokenExample => example
const seedOf = ({ seed }: Seeded): number => seed
