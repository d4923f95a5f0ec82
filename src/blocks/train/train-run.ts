// One training step on its way through the blocks of a span, forwards and back, a block at a time.
// It can be stopped between two operations and continued. Called by train-span.ts.
import { AppError, computeError } from '../../base/errors.ts'
import type { BlockSpan } from '../../base/block-span.ts'
import type { Address, Program } from '../../kernels/program.ts'
import type { Arena, Run, Runner } from '../../kernels/run.ts'
import type { StopFlag } from '../engine/loaded-span.ts'
import { hasOnlyNumbers } from '../finite.ts'
import type { AdapterSlots } from './adapter-slots.ts'
import { giveBack, type KeptBlock, type KeptMemory } from './kept-steps.ts'
import { PromptRows } from './prompt-rows.ts'
import type { Direction } from './train-program.ts'
import type { TrainResult, TrainStep } from './train-types.ts'

export interface TrainRunOptions {
  readonly step: TrainStep
  readonly runner: Runner
  /** Blocks of the programs. */
  readonly range: BlockSpan
  readonly hiddenSize: number
  /** Runs a block forwards, or back; rows may be kept in between. */
  readonly program: (direction: Direction, keeps: boolean) => Program
  readonly arena: Arena
  readonly slots: AdapterSlots | undefined
  /** Names what is computed forwards. */
  readonly key: string
  /** Memory for rows of a block. */
  readonly memory: (sizeBytes: number) => KeptMemory | undefined
  /** All blocks, when they were computed before. */
  readonly kept: readonly KeptBlock[] | undefined
  /** Of the rows that enter each block, the present ones and their gradient. */
  readonly reserved: Disposable
}

export class TrainRun implements Disposable {
  readonly step: TrainStep
  readonly key: string
  readonly #options: TrainRunOptions
  /** Operations of the block, and items of the next one, that were run before it was stopped. */
  readonly #done = new Int32Array(new ArrayBuffer(8))
  /** The blocks so far, the first one's first. */
  #blocks: KeptBlock[] = []
  readonly #prompts: PromptRows | undefined
  readonly #adapterGradients: Float32Array[] = []
  /** Rows forwards; gradients backwards. */
  #rows: Float32Array
  #block: number
  #isBackwards = false

  constructor(options: TrainRunOptions) {
    const { step, hiddenSize, kept } = options
    this.step = step
    this.key = options.key
    this.#options = options
    this.#block = step.range.start
    this.#rows = step.hidden.slice()
    if (step.prompts !== undefined) {
      this.#prompts = new PromptRows(step.prompts, { step, hiddenSize })
    }
    if (kept === undefined) this.#enter()
    else {
      this.#blocks.push(...kept)
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

  /** What the way back can use; whoever takes it gives its memory back. */
  takeBlocks(): readonly KeptBlock[] {
    const blocks = this.#blocks
    this.#blocks = []
    return blocks
  }

  [Symbol.dispose](): void {
    giveBack(this.takeBlocks())
    this.#options.reserved[Symbol.dispose]()
  }

  /** Rows enter a block. */
  #enter(): void {
    const { memory, program, hiddenSize } = this.#options
    const { range, gradient } = this.step
    this.#prompts?.addTo(this.#rows, this.#block - range.start)
    const input = this.#rows.slice()
    // With a gradient, the last block is run by its way back alone.
    const isRun = gradient === undefined || this.#block < range.end - 1
    const sizeBytes = program('forwards', true).keptBytes * (input.length / hiddenSize)
    this.#blocks.push({ input, memory: isRun ? memory(sizeBytes) : undefined })
  }

  #forwards(stop: StopFlag): boolean {
    const kept = this.#blocks.at(-1)?.memory?.address
    const program = this.#options.program('forwards', kept !== undefined)
    return this.#run(program, stop, { hidden: this.#rows, result: this.#rows, kept })
  }

  #backwards(stop: StopFlag): boolean {
    const { slots } = this.#options
    const block = this.#blocks.at(-1)
    if (block === undefined) throw new TypeError('A block has no input')
    const { input, memory } = block
    const kept = memory?.address
    const program = this.#options.program('backwards', kept !== undefined)
    const rows = { hidden: input, result: input, out: this.#rows, kept }
    if (!this.#run(program, stop, rows)) return false
    this.#rows = input
    this.#blocks.pop()
    memory?.[Symbol.dispose]()
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
    rows: Pick<Run, 'hidden' | 'result' | 'out'> & { kept: Address | undefined }
  ): boolean {
    const { runner, range, arena } = this.#options
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
      runner.run(program, run, arena)
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
