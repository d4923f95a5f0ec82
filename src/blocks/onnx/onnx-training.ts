// Training steps by ONNX graphs: one for a block forwards, one for it backwards, each a session of
// its own that is made on first use and given up where memory is short. Knows no steps beyond their
// rows.
import type { BlockSpan } from '../../base/block-span.ts'
import { notFound, toAppError, unsupported } from '../../base/errors.ts'
import type { StopFlag } from '../engine/loaded-span.ts'
import { hasOnlyNumbers } from '../finite.ts'
import { MASK, POSITIONS } from '../graph/train/gradient-attention.ts'
import {
  GRADIENT,
  loraNames,
  maskOf,
  readsPositions,
  trainGraph
} from '../graph/train/train-graph.ts'
import { HIDDEN, RESULT } from '../graph/span-graph.ts'
import type { MemoryBudget, Reservation } from '../memory-budget.ts'
import { OrtBinding, OrtSession } from '../ort/session.ts'
import { OrtTensor, type ElementType } from '../ort/value.ts'
import { OrtWeights } from '../ort/weights.ts'
import { graphBytes } from '../sizes.ts'
import type { SpanPlan } from '../span-plan.ts'
import { blockNumbers, targetParts, type AdapterShape } from '../train/adapter-shape.ts'
import {
  notFinite,
  type BackwardRows,
  type BlockRunner,
  type ForwardRows
} from '../train/train-run.ts'
import { SMALLER, type TrainBackend } from '../train/train-span.ts'
import type { TrainStep } from '../train/train-types.ts'
import type { WeightStore } from '../weights/weight-store.ts'
import type { Backend } from './backend.ts'

type Direction = 'forwards' | 'backwards'

export interface OnnxTrainingOptions {
  readonly backend: Backend
  readonly budget: MemoryBudget
  readonly plan: SpanPlan
  readonly range: BlockSpan
  readonly store: WeightStore
}

interface LoadedBlock {
  readonly session: OrtSession
  readonly reserved: Reservation
}

/** What a row sees not: its share is 0 behind the softmax. */
const UNSEEN = -1e30
/** Matrices of (heads, rows, rows) that are there at once on the way back, roughly. */
const SCORES = 8
/** Likewise rows, in widths of the stream and of the MLP. */
const STREAM_WIDTHS = 24
const MLP_WIDTHS = 10

export class OnnxTraining implements TrainBackend, Disposable {
  readonly #options: OnnxTrainingOptions
  readonly #weights: OrtWeights
  readonly #blocks = new Map<string, LoadedBlock>()
  #working: Reservation | undefined

  constructor(options: OnnxTrainingOptions) {
    this.#options = options
    this.#weights = new OrtWeights(options.backend.runtime, options.store)
  }

  /** Whether this device has all operators of a block's way back. */
  canTrain(): boolean {
    const { plan, range, backend } = this.#options
    if (plan.config.expertCount !== undefined) return false
    if (backend.settings.provider === undefined) return true
    try {
      this.block(range.start, 'backwards', undefined)
      return true
    } catch {
      return false
    } finally {
      this.free()
    }
  }

  begin(step: TrainStep): BlockRunner {
    if (step.dropout !== undefined) {
      throw unsupported('Dropout cannot be computed on this device', {
        hint: 'Servers on CPUs can; or train without --dropout'
      })
    }
    const { budget, plan } = this.#options
    const { headCount, hiddenSize, ffnSize } = plan.config
    const rows = step.lengths.reduce((sum, length) => sum + length, 0)
    const wide = STREAM_WIDTHS * hiddenSize + MLP_WIDTHS * ffnSize
    const sizeBytes = 4 * rows * (SCORES * headCount * rows + wide)
    if ((this.#working?.sizeBytes ?? 0) < sizeBytes) {
      this.#working?.[Symbol.dispose]()
      this.#working = undefined
      this.#working = budget.reserve(sizeBytes, 'A training step', SMALLER)
    }
    return new OnnxBlocks(this, this.#options, step)
  }

  /** A session of a block. @throws AppError NO_MEMORY, COMPUTE */
  block(block: number, direction: Direction, shape: AdapterShape | undefined): OrtSession {
    const key = `${direction} ${block} ${JSON.stringify(shape ?? null)}`
    const known = this.#blocks.get(key)
    if (known !== undefined) return known.session
    const made = this.#load(block, direction, shape)
    this.#blocks.set(key, made)
    return made.session
  }

  #load(block: number, direction: Direction, shape: AdapterShape | undefined): LoadedBlock {
    const { backend, plan, store } = this.#options
    const planned = plan.blocks.find((one) => one.block === block)
    if (planned === undefined) throw notFound(`Block ${block} is not here`)
    const reserved = this.#reserve()
    try {
      const { model, weightNames } = trainGraph(plan, planned, { direction, shape })
      const weights = this.#weights.pick(weightNames)
      // What is made of weights alone must not be kept as floats beside them.
      const settings = { ...backend.settings, optimisation: 0 }
      const session = new OrtSession(backend.runtime, { model, weights }, settings)
      store.trim()
      return { session, reserved }
    } catch (error) {
      reserved[Symbol.dispose]()
      throw error
    }
  }

  /** For a graph, and where a device has memory of its own for a block's weights. */
  #reserve(): Reservation {
    const { backend, budget, plan } = this.#options
    const copies = backend.settings.provider === undefined ? 0 : plan.weightBytes
    const sizeBytes = graphBytes(1) + Math.ceil(copies / plan.blocks.length)
    const what = 'A graph for training'
    try {
      return budget.reserve(sizeBytes, what)
    } catch (error) {
      if (this.#blocks.size === 0 || toAppError(error).code !== 'NO_MEMORY') throw error
      // Slower: graphs are made anew for each block.
      this.#dropBlocks()
      return budget.reserve(sizeBytes, what)
    }
  }

  #dropBlocks(): void {
    for (const { session, reserved } of this.#blocks.values()) {
      session[Symbol.dispose]()
      reserved[Symbol.dispose]()
    }
    this.#blocks.clear()
  }

  free(): void {
    this.#dropBlocks()
    this.#working?.[Symbol.dispose]()
    this.#working = undefined
  }

  [Symbol.dispose](): void {
    this.free()
    this.#weights[Symbol.dispose]()
  }
}

class OnnxBlocks implements BlockRunner {
  readonly #training: OnnxTraining
  readonly #options: OnnxTrainingOptions
  readonly #step: TrainStep
  readonly #rows: number
  readonly #positions: BigInt64Array
  readonly #masks = new Map<string, Float32Array>()
  #gradient = new Float32Array(0)

  constructor(training: OnnxTraining, options: OnnxTrainingOptions, step: TrainStep) {
    this.#training = training
    this.#options = options
    this.#step = step
    const positions = step.lengths.flatMap((length) => Array.from({ length }, (_, i) => BigInt(i)))
    this.#positions = BigInt64Array.from(positions)
    this.#rows = positions.length
  }

  /** Everything is computed anew: a device's rows stay there for one run. */
  keptBytes(): number {
    return 0
  }

  forwards(block: number, { rows }: ForwardRows, stop: StopFlag): boolean {
    return this.#run(block, { rows }, stop)
  }

  backwards(block: number, { input, gradient }: BackwardRows, stop: StopFlag): boolean {
    return this.#run(block, { rows: input, gradient }, stop)
  }

  adapterGradient(): Float32Array {
    return this.#gradient
  }

  #run(
    block: number,
    { rows, gradient }: { rows: Float32Array; gradient?: Float32Array },
    stop: StopFlag
  ): boolean {
    if (Atomics.load(stop.word, 0) !== 0) return false
    const { backend, plan } = this.#options
    const { adapter } = this.#step
    const direction = gradient === undefined ? 'forwards' : 'backwards'
    const session = this.#training.block(block, direction, adapter?.shape)
    using binding = new OrtBinding(session)
    using stack = new DisposableStack()
    const bind = (
      way: 'input' | 'output',
      name: string,
      view: Float32Array | BigInt64Array,
      dims: readonly number[]
    ): void => {
      const type: ElementType = view instanceof Float32Array ? 'f32' : 'i64'
      binding[way](name, stack.use(OrtTensor.view(backend.runtime, view, type, dims)))
    }
    const { hiddenSize } = plan.config
    const dims = [1, this.#rows, hiddenSize]
    const result = new Float32Array(new ArrayBuffer(rows.byteLength))
    bind('input', HIDDEN, rows, dims)
    bind('output', RESULT, result, dims)
    if (gradient !== undefined) bind('input', GRADIENT, gradient, dims)
    if (readsPositions(plan.config)) bind('input', POSITIONS, this.#positions, [this.#rows])
    const mask = maskOf(plan.config, block)
    bind('input', mask, this.#mask(mask), [this.#rows, this.#rows])
    this.#bindAdapter(block, gradient !== undefined, bind)
    session.run(binding)
    if (!hasOnlyNumbers(result)) throw notFinite()
    rows.set(result)
    return true
  }

  /** Matrices as adapter-shape.ts says how they lie. */
  #bindAdapter(
    block: number,
    isBackwards: boolean,
    bind: (way: 'input' | 'output', name: string, view: Float32Array, dims: number[]) => void
  ): void {
    const { adapter, range } = this.#step
    if (adapter === undefined) return
    const { rank } = adapter.shape
    const parts = targetParts(this.#options.plan.config, adapter.shape)
    const count = blockNumbers(parts, rank)
    const values = adapter.values.subarray((block - range.start) * count)
    this.#gradient = new Float32Array(new ArrayBuffer(4 * count))
    let at = 0
    for (const [index, { inputs, outputs }] of parts.entries()) {
      const { a, b, gradients } = loraNames(index)
      const each = [
        { name: a, output: gradients.a, dims: [rank, inputs] },
        { name: b, output: gradients.b, dims: [outputs, rank] }
      ]
      for (const { name, output, dims } of each) {
        const end = at + rank * (name === a ? inputs : outputs)
        bind('input', name, values.subarray(at, end), dims)
        if (isBackwards) bind('output', output, this.#gradient.subarray(at, end), [1, ...dims])
        at = end
      }
    }
  }

  /** Which rows see which: those before them in their sequence, or as many as the window has. */
  #mask(name: string): Float32Array {
    const known = this.#masks.get(name)
    if (known !== undefined) return known
    const count = this.#rows
    const mask = new Float32Array(new ArrayBuffer(4 * count * count)).fill(UNSEEN)
    const window = name === MASK ? count : (this.#options.plan.config.window ?? count)
    let first = 0
    for (const length of this.#step.lengths) {
      for (let row = 0; row < length; row++) {
        const begin = (first + row) * count + first
        mask.fill(0, begin + Math.max(0, row - window + 1), begin + row + 1)
      }
      first += length
    }
    this.#masks.set(name, mask)
    return mask
  }
}
