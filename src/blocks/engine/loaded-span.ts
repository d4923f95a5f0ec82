// The interface of what computes: spans, sessions and heads. It has two implementations: programs
// of our own kernels over pages of KV (CPU), and ONNX graphs (CUDA, WebGPU).
import type { BlockSpan } from '../../base/block-span.ts'
import type { AppError } from '../../base/errors.ts'
import type { Additions } from '../../kernels/additions.ts'
import type { Model } from '../../model/types.ts'
import type { LoadedAdapter, SpanAdapter, Weighted } from '../adapters/adapter-types.ts'
import type { AdapterSet } from '../adapters/span-adapters.ts'
import type { MemoryBudget } from '../memory-budget.ts'
import type { SpanPlan } from '../span-plan.ts'
import type { HeadLoss, TrainResult, TrainStep } from '../train/train-types.ts'
import type { KvType, Quant } from '../types.ts'

/** KV memory of one session over some blocks of a loaded span. */
export interface SpanSession extends Disposable {
  readonly range: BlockSpan
  /** Positions whose keys and values it holds. */
  readonly length: number
  /** Cuts to `start` and allocates memory for positions [start, end). @throws AppError NO_MEMORY */
  ensure(start: number, end: number): void
  /** Drops positions from `length` on. */
  cut(length: number): void
  /** A session with the same first `length` positions. @throws AppError NO_MEMORY */
  fork(length: number): SpanSession
}

/** Rows of one session in a run. */
export interface RunPart<S extends SpanSession = SpanSession> {
  /** Its length is the position of the first row, and it has memory for all rows. */
  readonly session: S
  /** (rows, hiddenSize) */
  readonly hidden: Float32Array
  /** (rows, hiddenSize), the output; not the memory of `hidden`. */
  readonly result: Float32Array
}

/** Another thread's request to end a run early; checked between operators. */
export interface StopFlag {
  /** One word of shared memory: not 0 when the run should end. */
  readonly word: Int32Array
}

/** Weights of consecutive blocks, and the sessions that use them. */
export interface LoadedSpan extends Disposable {
  readonly plan: SpanPlan
  readonly range: BlockSpan
  /** Positions by which a session's memory grows. */
  readonly pageTokens: number
  /** KV memory of all sessions, bytes. */
  readonly kvBytes: number
  /** @throws AppError NO_MEMORY */
  openSession(range: BlockSpan, adapters?: readonly Weighted<LoadedAdapter>[]): SpanSession
  /**
   * Takes an adapter's numbers for all blocks. Absent where adapters cannot be applied.
   * @throws AppError BAD_INPUT, UNSUPPORTED, NO_MEMORY
   */
  loadAdapter?(adapter: SpanAdapter): LoadedAdapter
  /**
   * Runs parts of different sessions over the same range in one run. Afterwards each session has
   * grown by its rows. Where a part failed, its error is at its index and its session has the
   * length it had before.
   */
  run(parts: readonly RunPart[], stop: StopFlag): (AppError | undefined)[]
  /**
   * Runs a training step, or goes on with it: undefined when it was stopped. Absent where weights
   * cannot be trained through.
   */
  train?(step: TrainStep, stop: StopFlag): TrainResult | undefined
}

/** Final norm and output matrix. */
export interface LoadedHead extends Disposable {
  readonly hiddenSize: number
  readonly vocabSize: number
  readonly weightBytes: number
  /** (rows, hiddenSize) to (rows, vocabSize). @throws AppError COMPUTE, CANCELLED */
  run(hidden: Float32Array, logits: Float32Array, stop: StopFlag): void
  /**
   * Losses of rows (rows, hiddenSize) whose next token should be the target, and their gradient
   * times `weight`. Absent where heads cannot be trained through.
   */
  loss?(hidden: Float32Array, targets: Int32Array, weight: number): HeadLoss
  /**
   * Logits (rows, vocabSize) with float activations; with their gradient the gradient of the rows
   * (rows, hiddenSize) instead. Absent as `loss` is.
   */
  rows?(hidden: Float32Array, gradient?: Float32Array): Float32Array
}

export interface SpanLoadOptions extends BlockSpan {
  readonly quant: Quant
  readonly kv?: KvType | undefined
  /** Called between matrices: lets other work run, and throws if loading was cancelled. */
  readonly checkpoint: () => Promise<void>
}

/** Creates a worker's spans and heads. */
export interface ComputeBackend extends Disposable {
  /** What computes, in words. */
  readonly buildInfo: string
  /** Name and version of what defines the bits of its rows. Absent: a library's own rounding. */
  readonly arithmetic?: string
  /** Most rows of one run; longer steps are cut into several. */
  readonly chunkRows: number
  /** @throws AppError NO_MEMORY, CORRUPT, CANCELLED */
  loadSpan(model: Model, options: SpanLoadOptions, budget: MemoryBudget): Promise<LoadedSpan>
  /** @throws AppError NO_MEMORY, CORRUPT */
  loadHead(model: Model, quant: 'native' | 'f32', budget: MemoryBudget): LoadedHead
}

/**
 * Weights and operations of a span of our own kernels, without sessions: paged-span.ts makes a
 * LoadedSpan of it. A page holds keys and values of `pageTokens` positions for all blocks of a
 * session's range.
 */
export interface KernelProgram extends Disposable {
  readonly plan: SpanPlan
  readonly range: BlockSpan
  readonly pageTokens: number
  pageBytes(range: BlockSpan): number
  /** Copies the first `tokens` positions of a page into another, by addresses of native memory. */
  copyPage(range: BlockSpan, from: bigint, to: bigint, tokens: number): void
  /** @throws AppError COMPUTE, CANCELLED */
  run(range: BlockSpan, rows: KernelRows, stop: StopFlag): void
  /** As LoadedSpan has it. */
  loadAdapter(adapter: SpanAdapter): LoadedAdapter
  /** What adapters add together. @throws AppError BAD_INPUT */
  openAdapters(adapters: readonly Weighted<LoadedAdapter>[]): AdapterSet
  /** A training step, as LoadedSpan has it. */
  train(step: TrainStep, stop: StopFlag): TrainResult | undefined
}

/** The rows of a run, ordered by session. */
export interface KernelRows {
  /** (rows, hiddenSize) */
  readonly hidden: Float32Array
  /** (rows, hiddenSize), the output; not the memory of `hidden`. */
  readonly result: Float32Array
  readonly segments: readonly KernelSegment[]
}

/** Rows of one session. */
export interface KernelSegment {
  /** Addresses of the session's pages, enough for position start + rows - 1. */
  readonly pages: BigUint64Array
  /** Position of the first row. */
  readonly start: number
  readonly rows: number
  /** What the session's adapters add. */
  readonly additions?: Additions | undefined
}
