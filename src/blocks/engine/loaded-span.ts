// What the engine computes with: the weights of consecutive blocks behind one interface, whoever computes them.
// Two kinds exist: a program of our own kernels over pages of KV (CPU), and an ONNX graph (CUDA, WebGPU).
import type { BlockSpan } from '../../base/block-span.ts'
import type { AppError } from '../../base/errors.ts'
import type { SpanPlan } from '../span-plan.ts'

/** Blocks [start, end). */

/** KV memory of one session over some blocks of a loaded span. */
export interface SpanSession extends Disposable {
  readonly range: BlockSpan
  /** Positions whose keys and values are held. */
  readonly length: number
  /** Bytes of KV memory that this session holds; shared pages count for each of their sessions. */
  readonly kvBytes: number
  /** Cuts to `start` and takes memory for positions [start, end). @throws AppError NO_MEMORY */
  ensure(start: number, end: number): void
  /** Forgets positions from `length` on and gives back what held them. */
  cut(length: number): void
  /** A session with the same first `length` positions. @throws AppError BAD_INPUT, NO_MEMORY */
  fork(length: number): SpanSession
}

/** Rows of one session in a run. */
export interface RunPart {
  readonly session: SpanSession
  /** Position of the first row; the session ends there once `ensure` was called. */
  readonly start: number
  /** (rows, hiddenSize) */
  readonly hidden: Float32Array
  /** (rows, hiddenSize), written. */
  readonly result: Float32Array
}

export interface LoadedSpan extends Disposable {
  readonly plan: SpanPlan
  readonly range: BlockSpan
  /** Rows of one run that are worth having at once; longer steps are cut. */
  readonly chunkRows: number
  openSession(range: BlockSpan): SpanSession
  /**
   * Runs parts of different sessions over the same range at once, each already ensured.
   * What went wrong with each part: its session is then as long as before.
   */
  run(parts: readonly RunPart[], stop: StopFlag): (AppError | undefined)[]
}

/** Another thread's wish that the run ends early; checked between operators. */
export interface StopFlag {
  /** One word of shared memory: not 0 when the run should end. */
  readonly word: Int32Array
}

/**
 * Weights and op list of a span of our own kernels, without sessions: paged-span.ts makes a LoadedSpan of it.
 * A page holds keys and values of `pageTokens` positions for all blocks of a session's range.
 */
export interface KernelProgram extends Disposable {
  readonly plan: SpanPlan
  readonly range: BlockSpan
  readonly chunkRows: number
  readonly pageTokens: number
  pageBytes(range: BlockSpan): number
  /** Copies the first `tokens` positions of a page into another. Addresses of native memory. */
  copyPage(range: BlockSpan, from: bigint, to: bigint, tokens: number): void
  /** @throws AppError COMPUTE, CANCELLED */
  run(range: BlockSpan, rows: KernelRows, stop: StopFlag): void
}

/** Rows of a run, side by side. */
export interface KernelRows {
  /** (rows, hiddenSize) */
  readonly hidden: Float32Array
  /** (rows, hiddenSize), written; not the memory of `hidden`. */
  readonly result: Float32Array
  readonly segments: readonly KernelSegment[]
}

/** Rows of one session. */
export interface KernelSegment {
  /** Addresses of the session's pages; enough for position start + rows - 1. */
  readonly pages: BigUint64Array
  /** Position of the first row. */
  readonly start: number
  readonly rows: number
}
