// Training steps over the weights of a span: programs by shape, and steps that can be stopped
// between two operations and continued later. Called by the engine; knows no messages.
import type { BlockSpan } from '../../base/block-span.ts'
import { AppError, badInput, computeError, overLimit } from '../../base/errors.ts'
import type { Program } from '../../kernels/program.ts'
import { Arena, type Run } from '../../kernels/run.ts'
import { hasOnlyNumbers } from '../finite.ts'
import type { StopFlag } from '../engine/loaded-span.ts'
import type { KernelContext } from '../kernel/kernel-context.ts'
import type { KernelWeights } from '../kernel/kernel-weights.ts'
import type { MemoryBudget, Reservation } from '../memory-budget.ts'
import type { SpanPlan } from '../span-plan.ts'
import type { AdapterShape } from './adapter-shape.ts'
import { AdapterSlots } from './adapter-slots.ts'
import { KeptInputs } from './kept-inputs.ts'
import { trainProgram } from './train-program.ts'
import type { TrainResult, TrainStep } from './train-types.ts'

/** Most rows of one step. */
export const MOST_TRAIN_ROWS = 4096
const LEAST_ROWS = 64
/** Shapes of adapters whose programs are kept; each has programs for several numbers of rows. */
const KEPT_SHAPES = 2

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
  /** Inputs of the blocks that lately ran forwards. */
  readonly #kept: KeptInputs
  #arena: { readonly memory: Arena; readonly reserved: Reservation } | undefined
  #step: TrainRun | undefined

  constructor(options: TrainSpanOptions) {
    this.#options = options
    this.#kept = new KeptInputs(options.budget)
  }

  /**
   * Starts a step or continues one that was stopped. Returns its result, or undefined if it was
   * stopped again. Another step replaces it.
   * @throws AppError BAD_INPUT, LIMIT, NO_MEMORY, UNSUPPORTED, COMPUTE
   */
  run(step: TrainStep, stop: StopFlag): TrainResult | undefined {
    if (this.#step?.step !== step) this.#step = this.#begin(step)
    const run = this.#step
    try {
      const isDone = run.next(stop)
      if (!isDone) return undefined
      this.#step = undefined
      if (step.gradient === undefined) this.#kept.keep(run.key, run.inputs)
      return run.result()
    } catch (error) {
      this.#step = undefined
      throw error
    }
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
    const program = (direction: 'forwards' | 'backwards'): Program =>
      this.#program(prepared, { direction, rows })
    const programs = {
      forwards: program('forwards'),
      backwards: step.gradient === undefined ? undefined : program('backwards')
    }
    const arena = this.#reserveArena(Object.values(programs))
    const key = keyOf(step)
    const inputs = step.gradient === undefined ? undefined : this.#kept.take(key)
    return new TrainRun(this.#options, {
      step,
      programs,
      arena,
      slots: prepared.slots,
      key,
      inputs
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
    const slots = shape && new AdapterSlots(plan.config, shape, range)
    const reserved = budget.reserve(slots?.sizeBytes ?? 0, "An adapter's matrices")
    const prepared = { slots, reserved, programs: new Map<string, Program>() }
    this.#prepared.set(key, prepared)
    return prepared
  }

  #program(
    { slots, programs }: Prepared,
    of: { direction: 'forwards' | 'backwards'; rows: number }
  ): Program {
    const { plan, weights } = this.#options
    // A few programs serve all numbers of rows.
    let maxRows = LEAST_ROWS
    while (maxRows < of.rows) maxRows *= 2
    const key = `${of.direction} ${maxRows}`
    const known = programs.get(key)
    if (known !== undefined) return known
    const loras: AdapterSlots['loras'] = (block, group) => slots?.loras(block, group) ?? []
    const made = trainProgram(plan, weights, { maxRows, direction: of.direction, loras })
    programs.set(key, made)
    return made
  }

  /** Memory for the programs' runs, reserved before it is allocated. */
  #reserveArena(programs: readonly (Program | undefined)[]): Arena {
    const { context, budget } = this.#options
    const bytes = programs.reduce(
      (most, program) =>
        program === undefined ? most : Math.max(most, context.runner.arenaBytes(program)),
      0
    )
    if (this.#arena === undefined || this.#arena.reserved.sizeBytes < bytes) {
      this.#arena?.reserved[Symbol.dispose]()
      this.#arena = undefined
      const reserved = budget.reserve(bytes, 'A training step', 'Train with smaller batches')
      this.#arena = { memory: new Arena(), reserved }
    }
    return this.#arena.memory
  }

  [Symbol.dispose](): void {
    this.#kept[Symbol.dispose]()
    for (const { reserved } of this.#prepared.values()) reserved[Symbol.dispose]()
    this.#prepared.clear()
    this.#arena?.reserved[Symbol.dispose]()
    this.#arena = undefined
    this.#step = undefined
  }
}

interface RunParts {
  readonly step: TrainStep
  readonly programs: { readonly forwards: Program; readonly backwards: Program | undefined }
  readonly arena: Arena
  readonly slots: AdapterSlots | undefined
  readonly key: string
  /** Inputs of all blocks, when they are known. */
  readonly inputs: readonly Float32Array[] | undefined
}

/** One step on its way through the blocks. */
class TrainRun {
  readonly step: TrainStep
  readonly key: string
  readonly #options: TrainSpanOptions
  readonly #parts: RunParts
  readonly #done = new Int32Array(new ArrayBuffer(4))
  /** Inputs of the blocks so far, the first one's first. */
  readonly inputs: Float32Array[] = []
  readonly #prompts: PromptRows | undefined
  readonly #adapterGradients: Float32Array[] = []
  /** Rows forwards; gradients backwards. */
  #rows: Float32Array
  #block: number
  #isBackwards = false

  constructor(options: TrainSpanOptions, parts: RunParts) {
    const { step } = parts
    this.step = step
    this.key = parts.key
    this.#options = options
    this.#parts = parts
    this.#block = step.range.start
    this.#rows = step.hidden.slice()
    if (step.prompts !== undefined) {
      const { hiddenSize } = options.plan.config
      this.#prompts = new PromptRows(step.prompts, { step, hiddenSize })
    }
    if (parts.inputs === undefined) this.#enter()
    else {
      this.inputs.push(...parts.inputs)
      this.#block = step.range.end - 1
    }
  }

  /** Runs until it is finished (true) or stopped (false). @throws AppError COMPUTE */
  next(stop: StopFlag): boolean {
    const { start, end } = this.step.range
    const { gradient } = this.step
    while (!this.#isBackwards) {
      const isLast = this.#block === end - 1
      if (isLast && gradient !== undefined) {
        this.#isBackwards = true
        this.#rows = gradient.slice()
        break
      }
      if (!this.#forwards(stop)) return false
      this.#block++
      if (isLast) return true
      this.#enter()
    }
    for (; this.#block >= start; this.#block--) {
      if (!this.#backwards(stop)) return false
    }
    return true
  }

  result(): TrainResult {
    const { gradient } = this.step
    if (gradient === undefined) return { hidden: this.#rows }
    return {
      hidden: this.#rows,
      adapterGradient:
        this.step.adapter === undefined ? undefined : joined(this.#adapterGradients.reverse()),
      promptGradient: this.#prompts?.gradient
    }
  }

  /** Rows enter a block. */
  #enter(): void {
    this.#prompts?.addTo(this.#rows, this.#block - this.step.range.start)
    this.inputs.push(this.#rows.slice())
  }

  #forwards(stop: StopFlag): boolean {
    return this.#run(this.#parts.programs.forwards, stop, {
      hidden: this.#rows,
      result: this.#rows
    })
  }

  #backwards(stop: StopFlag): boolean {
    const { programs, slots } = this.#parts
    const input = this.inputs[this.#block - this.step.range.start]
    if (programs.backwards === undefined || input === undefined) {
      throw new TypeError('A step without a gradient does not go back')
    }
    const rows = { hidden: input, result: input, out: this.#rows }
    if (!this.#run(programs.backwards, stop, rows)) return false
    this.#rows = input
    this.inputs.pop()
    this.#prompts?.takeFrom(input, this.#block - this.step.range.start)
    const range = { start: this.#block, end: this.#block + 1 }
    if (slots !== undefined) {
      const values = slots.gradients(range)
      if (!hasOnlyNumbers(values)) throw notFinite()
      this.#adapterGradients.push(values)
    }
    return true
  }

  #run(
    program: Program,
    stop: StopFlag,
    rows: { hidden: Float32Array; result: Float32Array; out?: Float32Array }
  ): boolean {
    const { context, range } = this.#options
    const first = this.#block - range.start
    const run: Run = {
      first,
      end: first + 1,
      rows: rows.hidden.length / program.width,
      ...rows,
      segments: this.step.lengths.map((count) => ({
        pages: NO_PAGES,
        kvBlock: 0,
        position: 0,
        rows: count
      })),
      abort: stop.word,
      done: this.#done
    }
    try {
      context.runner.run(program, run, this.#parts.arena)
    } catch (error) {
      if (error instanceof AppError && error.code === 'CANCELLED') return false
      if (error instanceof AppError && error.code === 'COMPUTE') throw notFinite()
      throw error
    }
    this.#done[0] = 0
    return true
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

const NO_PAGES = new BigUint64Array(0)

/** Prompts of the blocks of a step, and their gradients. */
class PromptRows {
  readonly gradient: Float32Array
  readonly #values: Float32Array
  readonly #width: number
  readonly #lengths: readonly number[]
  readonly #hiddenSize: number

  constructor(values: Float32Array, of: { step: TrainStep; hiddenSize: number }) {
    const { range, lengths } = of.step
    this.#values = values
    this.#hiddenSize = of.hiddenSize
    this.#lengths = lengths
    this.#width = values.length / (range.end - range.start)
    this.gradient = new Float32Array(values.length)
  }

  /** Adds the block's prompt to each sequence's first rows. */
  addTo(rows: Float32Array, block: number): void {
    this.#each(block, (prompt, row) => {
      rows[row] = rows[row]! + this.#values[prompt]!
    })
  }

  /** The gradients of those rows. */
  takeFrom(rows: Float32Array, block: number): void {
    this.#each(block, (prompt, row) => {
      this.gradient[prompt] = this.gradient[prompt]! + rows[row]!
    })
  }

  #each(block: number, visit: (prompt: number, row: number) => void): void {
    let first = 0
    for (const length of this.#lengths) {
      const count = Math.min(this.#width, length * this.#hiddenSize)
      for (let i = 0; i < count; i++) visit(block * this.#width + i, first + i)
      first += length * this.#hiddenSize
    }
  }
}

function notFinite(): AppError {
  return computeError('A training step gave values that are no numbers', { retryable: false })
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
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
