// Training steps over the blocks of a span: checked, computed a block at a time, with what is kept
// between their two ways. Called by the engine's spans; knows no messages, and no way of computing:
// a TrainBackend has the weights.
import type { BlockSpan } from '../../base/block-span.ts'
import { badInput, overLimit } from '../../base/errors.ts'
import { hasOnlyNumbers } from '../finite.ts'
import type { StopFlag } from '../engine/loaded-span.ts'
import type { MemoryBudget } from '../memory-budget.ts'
import type { SpanPlan } from '../span-plan.ts'
import { KeptSteps } from './kept-steps.ts'
import { TrainRun, type BlockRunner } from './train-run.ts'
import type { TrainResult, TrainStep } from './train-types.ts'

/** Most rows of one step. */
export const MOST_TRAIN_ROWS = 4096
/** What to do where memory is short. */
export const SMALLER = 'Train with smaller batches'

/** Computes a span's blocks in training. */
export interface TrainBackend {
  /** For a step that was checked. @throws AppError NO_MEMORY, UNSUPPORTED */
  begin(step: TrainStep): BlockRunner
  /** Gives back all memory; no step runs. */
  free(): void
}

export interface TrainSpanOptions {
  readonly backend: TrainBackend
  readonly budget: MemoryBudget
  readonly plan: SpanPlan
  readonly range: BlockSpan
}

export class TrainSpan implements Disposable {
  readonly #options: TrainSpanOptions
  /** What blocks lately made forwards. */
  readonly #kept: KeptSteps
  #step: TrainRun | undefined
  #isRunning = false
  readonly #borrower: Disposable

  constructor(options: TrainSpanOptions) {
    this.#options = options
    // Sessions need memory: a step that was stopped then begins again. Before what is kept is given
    // back, since the step's rows are part of it.
    this.#borrower = options.budget.onshort(() => {
      if (!this.#isRunning) this.#free()
    })
    this.#kept = new KeptSteps(options.budget)
  }

  /**
   * Starts a step or continues one that was stopped. Returns its result, or undefined if it was
   * stopped again. Another step replaces it.
   * @throws AppError BAD_INPUT, LIMIT, NO_MEMORY, UNSUPPORTED, COMPUTE
   */
  run(step: TrainStep, stop: StopFlag): TrainResult | undefined {
    this.#isRunning = true
    try {
      return this.#run(step, stop)
    } finally {
      this.#isRunning = false
    }
  }

  #run(step: TrainStep, stop: StopFlag): TrainResult | undefined {
    if (this.#step?.step !== step) {
      this.#end()
      this.#step = this.#begin(step)
    }
    const run = this.#step
    try {
      const isDone = run.next(stop)
      if (!isDone) return undefined
      if (step.gradient === undefined) this.#kept.keep(run.key, run.takeBlocks())
      this.#end()
      return run.result()
    } catch (error) {
      this.#end()
      throw error
    }
  }

  #end(): void {
    this.#step?.[Symbol.dispose]()
    this.#step = undefined
  }

  #begin(step: TrainStep): TrainRun {
    const { plan, range: own } = this.#options
    checkStep(step, { own, hiddenSize: plan.config.hiddenSize })
    const longest = Math.max(...step.lengths)
    if (longest > plan.config.contextLength) {
      throw overLimit(
        `A sequence of ${longest} tokens cannot be trained: the model ends at ` +
          `${plan.config.contextLength}`
      )
    }
    const runner = this.#options.backend.begin(step)
    const key = keyOf(step)
    const blocks = step.range.end - step.range.start
    const bytes = (blocks + 2) * step.hidden.byteLength
    return new TrainRun({
      reserved: this.#options.budget.reserve(bytes, 'A training step', SMALLER),
      step,
      runner,
      hiddenSize: plan.config.hiddenSize,
      key,
      memory: (sizeBytes) => this.#kept.memory(sizeBytes),
      kept: step.gradient === undefined ? undefined : this.#kept.take(key)
    })
  }

  [Symbol.dispose](): void {
    this.#borrower[Symbol.dispose]()
    this.#free()
    this.#kept[Symbol.dispose]()
  }

  #free(): void {
    this.#end()
    this.#options.backend.free()
  }
}

/** Two steps of one key have the same inputs in all blocks: nobody can find another such step. */
function keyOf({ range, lengths, hidden, prompts, adapter, dropout }: TrainStep): string {
  const hasher = new Bun.CryptoHasher('blake2b256')
  const facts = { range, lengths, shape: adapter?.shape, prompts: prompts?.length, dropout }
  hasher.update(JSON.stringify(facts)).update(hidden)
  if (prompts !== undefined) hasher.update(prompts)
  if (adapter !== undefined) hasher.update(adapter.values)
  return hasher.digest('hex')
}

function checkStep(
  step: TrainStep,
  { own, hiddenSize }: { own: BlockSpan; hiddenSize: number }
): void {
  const { range, lengths, hidden, gradient, prompts, adapter, dropout } = step
  const rows = lengths.reduce((sum, length) => sum + length, 0)
  if (range.start < own.start || range.end > own.end || range.start >= range.end) {
    throw badInput(`Blocks ${range.start}:${range.end} cannot be trained: the span has others`)
  }
  if (rows < 1 || rows > MOST_TRAIN_ROWS || lengths.some((length) => length < 1)) {
    throw overLimit(`A step of ${rows} rows cannot run: 1 to ${MOST_TRAIN_ROWS} can`)
  }
  if (hidden.length !== rows * hiddenSize) throw badInput('A training step has rows of other sizes')
  if (gradient !== undefined && gradient.length !== hidden.length) {
    throw badInput('A gradient has another shape than its rows')
  }
  if (dropout !== undefined) {
    const { share, seeds } = dropout
    if (!(share > 0 && share < 1) || seeds.length !== lengths.length || adapter === undefined) {
      throw badInput('Dropout has an impossible share, or not one seed for each sequence')
    }
  }
  const blocks = range.end - range.start
  if (prompts !== undefined && (prompts.length === 0 || prompts.length % (blocks * hiddenSize))) {
    throw badInput('Prompts have another shape than the blocks')
  }
  for (const values of [hidden, gradient, prompts, adapter?.values]) {
    if (values !== undefined && !hasOnlyNumbers(values)) throw badInput('A step has no numbers')
  }
}
