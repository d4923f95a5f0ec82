// One training step on its way through the blocks of a span, forwards and back, a block at a time.
// It can be stopped between two operations and continued. Knows no way of computing: a BlockRunner
// runs blocks. Called by train-span.ts.
import { computeError, type AppError } from '../../base/errors.ts'
import type { Address } from '../../kernels/program.ts'
import type { StopFlag } from '../engine/loaded-span.ts'
import { hasOnlyNumbers } from '../finite.ts'
import { giveBack, type KeptBlock, type KeptMemory } from './kept-steps.ts'
import { PromptRows } from './prompt-rows.ts'
import type { TrainResult, TrainStep } from './train-types.ts'

/** What a run of a block reads and writes; (rows, hiddenSize) each. */
export interface ForwardRows {
  /** The block's input, which becomes its output. */
  readonly rows: Float32Array
  /** Memory of keptBytes() that the way back will read; absent: nothing is kept. */
  readonly kept: Address | undefined
}

export interface BackwardRows {
  /** The block's input, which becomes the gradient of it. */
  readonly input: Float32Array
  /** Of the block's output. */
  readonly gradient: Float32Array
  readonly kept: Address | undefined
}

/** Runs blocks of one step. */
export interface BlockRunner {
  /** Bytes that a block can keep between its two ways; 0: none. */
  keptBytes(): number
  /** False when it was stopped; called again, it goes on. @throws AppError COMPUTE */
  forwards(block: number, rows: ForwardRows, stop: StopFlag): boolean
  /** Likewise. */
  backwards(block: number, rows: BackwardRows, stop: StopFlag): boolean
  /** Gradients of the adapter's numbers of the block that ran backwards last. */
  adapterGradient(block: number): Float32Array
}

export interface TrainRunOptions {
  readonly step: TrainStep
  readonly runner: BlockRunner
  readonly hiddenSize: number
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
    const { memory, runner } = this.#options
    const { range, gradient } = this.step
    this.#prompts?.addTo(this.#rows, this.#block - range.start)
    const input = this.#rows.slice()
    // With a gradient, the last block is run by its way back alone.
    const isRun = gradient === undefined || this.#block < range.end - 1
    const sizeBytes = isRun ? runner.keptBytes() : 0
    this.#blocks.push({ input, memory: sizeBytes > 0 ? memory(sizeBytes) : undefined })
  }

  #forwards(stop: StopFlag): boolean {
    const kept = this.#blocks.at(-1)?.memory?.address
    return this.#options.runner.forwards(this.#block, { rows: this.#rows, kept }, stop)
  }

  #backwards(stop: StopFlag): boolean {
    const { runner } = this.#options
    const { range, adapter } = this.step
    const block = this.#blocks.at(-1)
    if (block === undefined) throw new TypeError('A block has no input')
    const { input, memory } = block
    const rows = { input, gradient: this.#rows, kept: memory?.address }
    if (!runner.backwards(this.#block, rows, stop)) return false
    this.#rows = input
    this.#blocks.pop()
    memory?.[Symbol.dispose]()
    this.#prompts?.takeFrom(input, this.#block - range.start)
    if (adapter !== undefined) {
      const values = runner.adapterGradient(this.#block)
      if (!hasOnlyNumbers(values)) throw notFinite()
      this.#adapterGradients.push(values)
    }
    return true
  }
}

export function notFinite(): AppError {
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
