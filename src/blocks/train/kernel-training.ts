// Training steps by programs of our own kernels: by shape of the adapter and number of rows, in
// memory that is reserved. Knows no steps beyond their shapes.
import type { BlockSpan } from '../../base/block-span.ts'
import { AppError } from '../../base/errors.ts'
import { rowSeed, type Dropout } from '../../kernels/gradient-operations.ts'
import type { Program } from '../../kernels/program.ts'
import { Arena, type Run } from '../../kernels/run.ts'
import type { StopFlag } from '../engine/loaded-span.ts'
import type { KernelContext } from '../kernel/kernel-context.ts'
import type { KernelWeights } from '../kernel/kernel-weights.ts'
import type { MemoryBudget, Reservation } from '../memory-budget.ts'
import type { SpanPlan } from '../span-plan.ts'
import type { AdapterShape } from './adapter-shape.ts'
import { AdapterSlots, slotBytes } from './adapter-slots.ts'
import { trainProgram, type Direction } from './train-program.ts'
import { notFinite, type BackwardRows, type BlockRunner, type ForwardRows } from './train-run.ts'
import { MOST_TRAIN_ROWS, SMALLER, type TrainBackend } from './train-span.ts'
import type { StepDropout, TrainStep } from './train-types.ts'

const LEAST_ROWS = 64
/** Shapes of adapters whose programs are kept; each has programs for several numbers of rows. */
const KEPT_SHAPES = 2

export interface KernelTrainingOptions {
  readonly context: KernelContext
  readonly budget: MemoryBudget
  readonly plan: SpanPlan
  readonly range: BlockSpan
  readonly weights: KernelWeights
}

/** What is kept for one shape of adapters, or for none. */
interface Prepared {
  readonly slots: AdapterSlots | undefined
  readonly dropout: Dropout | undefined
  readonly reserved: Reservation
  readonly programs: Map<string, Program>
}

export class KernelTraining implements TrainBackend {
  readonly #options: KernelTrainingOptions
  readonly #prepared = new Map<string, Prepared>()
  #arena: { readonly memory: Arena; readonly reserved: Reservation } | undefined

  constructor(options: KernelTrainingOptions) {
    this.#options = options
  }

  begin(step: TrainStep): BlockRunner {
    const { context, range } = this.#options
    const rows = step.lengths.reduce((sum, length) => sum + length, 0)
    const prepared = this.#prepare(step.adapter?.shape, step.dropout?.share)
    if (step.adapter !== undefined) prepared.slots?.fill(step.range, step.adapter.values)
    if (step.dropout !== undefined) prepared.dropout?.seeds.set(rowSeeds(step, step.dropout))
    const program = (direction: Direction, keeps: boolean): Program =>
      this.#program(prepared, { direction, keeps, rows })
    const directions: Direction[] =
      step.gradient === undefined ? ['forwards'] : ['forwards', 'backwards']
    const arena = this.#reserveArena(
      directions.flatMap((direction) => [program(direction, false), program(direction, true)])
    )
    return new KernelBlocks({ context, range, step, program, arena, slots: prepared.slots })
  }

  free(): void {
    for (const { reserved } of this.#prepared.values()) reserved[Symbol.dispose]()
    this.#prepared.clear()
    this.#arena?.reserved[Symbol.dispose]()
    this.#arena = undefined
  }

  #prepare(shape: AdapterShape | undefined, share: number | undefined): Prepared {
    const key = JSON.stringify([shape, share])
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
    const dropout =
      share === undefined
        ? undefined
        : { share, seeds: new Int32Array(new ArrayBuffer(4 * MOST_TRAIN_ROWS)) }
    const prepared = { slots, dropout, reserved, programs: new Map<string, Program>() }
    this.#prepared.set(key, prepared)
    return prepared
  }

  #program(
    { slots, dropout, programs }: Prepared,
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
    const made = trainProgram(plan, weights, { maxRows, direction, keeps, loras, dropout })
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
}

/** Of all rows: they depend on where a row is in its own sequence, and not on who is beside it. */
function rowSeeds({ lengths }: TrainStep, { seeds }: StepDropout): number[] {
  return lengths.flatMap((length, index) =>
    Array.from({ length }, (_, position) => rowSeed(seeds[index] ?? 0, position))
  )
}

interface KernelBlocksOptions {
  readonly context: KernelContext
  /** Blocks of the programs. */
  readonly range: BlockSpan
  readonly step: TrainStep
  /** Runs a block forwards, or back; rows may be kept in between. */
  readonly program: (direction: Direction, keeps: boolean) => Program
  readonly arena: Arena
  readonly slots: AdapterSlots | undefined
}

class KernelBlocks implements BlockRunner {
  readonly #options: KernelBlocksOptions
  /** Operations of the block, and items of the next one, that were run before it was stopped. */
  readonly #done = new Int32Array(new ArrayBuffer(8))

  constructor(options: KernelBlocksOptions) {
    this.#options = options
  }

  keptBytes(): number {
    const { step, program } = this.#options
    const { keptBytes, width } = program('forwards', true)
    return keptBytes * (step.hidden.length / width)
  }

  forwards(block: number, { rows, kept }: ForwardRows, stop: StopFlag): boolean {
    const program = this.#options.program('forwards', kept !== undefined)
    return this.#run(program, block, { hidden: rows, result: rows, kept }, stop)
  }

  backwards(block: number, { input, gradient, kept }: BackwardRows, stop: StopFlag): boolean {
    const program = this.#options.program('backwards', kept !== undefined)
    const rows = { hidden: input, result: input, out: gradient, kept }
    return this.#run(program, block, rows, stop)
  }

  adapterGradient(block: number): Float32Array {
    const { slots } = this.#options
    return slots?.gradients({ start: block, end: block + 1 }) ?? new Float32Array(0)
  }

  #run(
    program: Program,
    block: number,
    rows: Pick<Run, 'hidden' | 'result' | 'out' | 'kept'>,
    stop: StopFlag
  ): boolean {
    const { context, range, arena, step } = this.#options
    const first = block - range.start
    const run: Run = {
      first,
      end: first + 1,
      rows: rows.hidden.length / program.width,
      ...rows,
      segments: step.lengths.map((count) => ({
        pages: NO_PAGES,
        kvBlock: 0,
        position: 0,
        rows: count
      })),
      abort: stop.word,
      done: this.#done
    }
    try {
      context.runner.run(program, run, arena)
    } catch (error) {
      if (error instanceof AppError && error.code === 'CANCELLED') return false
      if (error instanceof AppError && error.code === 'COMPUTE') throw notFinite()
      throw error
    }
    this.#done.fill(0)
    return true
  }
}

const NO_PAGES = new BigUint64Array(0)
