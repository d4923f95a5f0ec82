// Training steps over the weights of a span: programs by shape, and steps that can be stopped
// between two operations and continued later. Called by the engine; knows no messages.
import type { BlockSpan } from '../../base/block-span.ts'
import { badInput, overLimit } from '../../base/errors.ts'
import type { Program } from '../../kernels/program.ts'
import { Arena } from '../../kernels/run.ts'
import { hasOnlyNumbers } from '../finite.ts'
import type { StopFlag } from '../engine/loaded-span.ts'
import type { KernelContext } from '../kernel/kernel-context.ts'
import type { KernelWeights } from '../kernel/kernel-weights.ts'
import type { MemoryBudget, Reservation } from '../memory-budget.ts'
import type { SpanPlan } from '../span-plan.ts'
import type { AdapterShape } from './adapter-shape.ts'
import { AdapterSlots, slotBytes } from './adapter-slots.ts'
import { KeptSteps } from './kept-steps.ts'
import { trainProgram, type Direction } from './train-program.ts'
import { TrainRun } from './train-run.ts'
import type { TrainResult, TrainStep } from './train-types.ts'

/** Most rows of one step. */
export const MOST_TRAIN_ROWS = 4096
const LEAST_ROWS = 64
/** Shapes of adapters whose programs are kept; each has programs for several numbers of rows. */
const KEPT_SHAPES = 2
const SMALLER = 'Train with smaller batches'

export interface TrainSpanOptions {
  readonly context: KernelContext
  readonly budget: MemoryBudget
  readonly plan: SpanPlan
  readonly range: BlockSpan
  readonly weights: KernelWeights
}

/** What is kept for one shape of adapters, or for none. */
interface Prepared {
  readonly slots: AdapterSlots | undefined
  readonly reserved: Reservation
  readonly programs: Map<string, Program>
}

export class TrainSpan implements Disposable {
  readonly #options: TrainSpanOptions
  readonly #prepared = new Map<string, Prepared>()
  /** What blocks lately made forwards. */
  readonly #kept: KeptSteps
  #arena: { readonly memory: Arena; readonly reserved: Reservation } | undefined
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
    const rows = step.lengths.reduce((sum, length) => sum + length, 0)
    const longest = Math.max(...step.lengths)
    if (longest > plan.config.contextLength) {
      throw overLimit(
        `A sequence of ${longest} tokens cannot be trained: the model ends at ` +
          `${plan.config.contextLength}`
      )
    }
    const prepared = this.#prepare(step.adapter?.shape)
    if (step.adapter !== undefined) prepared.slots?.fill(step.range, step.adapter.values)
    const program = (direction: Direction, keeps: boolean): Program =>
      this.#program(prepared, { direction, keeps, rows })
    const directions: Direction[] =
      step.gradient === undefined ? ['forwards'] : ['forwards', 'backwards']
    const arena = this.#reserveArena(
      directions.flatMap((direction) => [program(direction, false), program(direction, true)])
    )
    const key = keyOf(step)
    const blocks = step.range.end - step.range.start
    const bytes = (blocks + 2) * step.hidden.byteLength
    return new TrainRun({
      reserved: this.#options.budget.reserve(bytes, 'A training step', SMALLER),
      step,
      runner: this.#options.context.runner,
      range: own,
      hiddenSize: plan.config.hiddenSize,
      program,
      arena,
      slots: prepared.slots,
      key,
      memory: (sizeBytes) => this.#kept.memory(sizeBytes),
      kept: step.gradient === undefined ? undefined : this.#kept.take(key)
    })
  }

  #prepare(shape: AdapterShape | undefined): Prepared {
    const key = JSON.stringify(shape ?? null)
    const known = this.#prepared.get(key)
    if (known !== undefined) return known
    for (const [old, { reserved }] of this.#prepared) {
      if (this.#prepared.size < KEPT_SHAPES) break
      this.#prepared.delete(old)
      reserved[Symbol.dispose]()
    }
    const { plan, range, budget } = this.#options
    const bytes = shape === undefined ? 0 : slotBytes(plan.config, shape, range)
    const reserved = budget.reserve(bytes, "An adapter's matrices")
    const slots = shape && new AdapterSlots(plan.config, shape, range)
    const prepared = { slots, reserved, programs: new Map<string, Program>() }
    this.#prepared.set(key, prepared)
    return prepared
  }

  #program(
    { slots, programs }: Prepared,
    of: { direction: Direction; keeps: boolean; rows: number }
  ): Program {
    const { plan, weights } = this.#options
    // A few programs serve all numbers of rows.
    let maxRows = LEAST_ROWS
    while (maxRows < of.rows) maxRows *= 2
    const { direction, keeps } = of
    const key = `${direction} ${keeps} ${maxRows}`
    const known = programs.get(key)
    if (known !== undefined) return known
    const loras: AdapterSlots['loras'] = (block, group) => slots?.loras(block, group) ?? []
    const made = trainProgram(plan, weights, { maxRows, direction, keeps, loras })
    programs.set(key, made)
    return made
  }

  /** Memory for the programs' runs, reserved before it is allocated. */
  #reserveArena(programs: readonly Program[]): Arena {
    const { context, budget } = this.#options
    const bytes = Math.max(...programs.map((program) => context.runner.arenaBytes(program)))
    if (this.#arena === undefined || this.#arena.reserved.sizeBytes < bytes) {
      this.#arena?.reserved[Symbol.dispose]()
      this.#arena = undefined
      const reserved = budget.reserve(bytes, 'A training step', SMALLER)
      this.#arena = { memory: new Arena(), reserved }
    }
    return this.#arena.memory
  }

  [Symbol.dispose](): void {
    this.#borrower[Symbol.dispose]()
    this.#free()
    this.#kept[Symbol.dispose]()
  }

  #free(): void {
    this.#end()
    for (const { reserved } of this.#prepared.values()) reserved[Symbol.dispose]()
    this.#prepared.clear()
    this.#arena?.reserved[Symbol.dispose]()
    this.#arena = undefined
  }
}

/** Two steps of one key have the same inputs in all blocks: nobody can find another such step. */
function keyOf({ range, lengths, hidden, prompts, adapter }: TrainStep): string {
  const hasher = new Bun.CryptoHasher('blake2b256')
  const facts = { range, lengths, shape: adapter?.shape, prompts: prompts?.length }
  hasher.update(JSON.stringify(facts)).update(hidden)
  if (prompts !== undefined) hasher.update(prompts)
  if (adapter !== undefined) hasher.update(adapter.values)
  return hasher.digest('hex')
}

function checkStep(
  step: TrainStep,
  { own, hiddenSize }: { own: BlockSpan; hiddenSize: number }
): void {
  const { range, lengths, hidden, gradient, prompts, adapter } = step
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
  const blocks = range.end - range.start
  if (prompts !== undefined && (prompts.length === 0 || prompts.length % (blocks * hiddenSize))) {
    throw badInput('Prompts have another shape than the blocks')
  }
  for (const values of [hidden, gradient, prompts, adapter?.values]) {
    if (values !== undefined && !hasOnlyNumbers(values)) throw badInput('A step has no numbers')
  }
}
