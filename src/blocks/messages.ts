// Messages between the main thread and the compute worker, and how errors cross between them. Knows
// no engine; buffers are transferred, never copied.
import type { BlockSpan } from '../base/block-span.ts'
import { AppError, toAppError, type ErrorCode } from '../base/errors.ts'
import type { ModelLocation } from '../model/types.ts'
import type { SpanAdapter, Weighted } from './adapters/adapter-types.ts'
import type { RunPiece } from './scheduler/step-job.ts'
import type {
  HeadLoss,
  HeadLossStep,
  HeadRowsStep,
  TrainResult,
  TrainStep
} from './train/train-types.ts'
import type { ComputeDevice, ComputeStats, KeepOptions, SpanInfo, SpanOptions } from './types.ts'

/** What a worker is started with; all defaults are filled in. */
export interface WorkerOptions {
  threads: number
  device: ComputeDevice
  deviceId: number
  memoryBytes: number
  libraryDir: string | undefined
  /** Folder with the kernels' libraries. Default: compiled from their sources. */
  kernelDir?: string | undefined
  scratchDir: string | undefined
  keep?: KeepOptions | undefined
  cudaDir?: string | undefined
}

export interface StartOptions extends WorkerOptions {
  /** One word of shared memory: not 0 when the current run should end. */
  stop: Int32Array
}

export interface StartReply {
  buildInfo: string
  /** Most rows of one run. */
  chunkRows: number
}

/** A piece's rows, or its error. */
export type PieceReply = Float32Array | ErrorRecord

/** Arguments and answer of each call. */
export interface Calls {
  start: { args: StartOptions; answer: StartReply }
  loadSpan: { args: SpanOptions; answer: SpanInfo }
  unloadSpan: { args: { span: number }; answer: undefined }
  openSession: {
    args: {
      span: number
      range: BlockSpan | undefined
      adapters: readonly Weighted<number>[] | undefined
    }
    answer: number
  }
  loadAdapter: {
    args: { span: number; adapter: SpanAdapter }
    answer: { adapter: number; sizeBytes: number }
  }
  unloadAdapter: { args: { adapter: number }; answer: undefined }
  forkSession: { args: { session: number; length: number }; answer: number }
  closeSession: { args: { session: number }; answer: undefined }
  /** Pieces of different sessions over the same blocks. */
  run: { args: { pieces: readonly RunPiece[] }; answer: readonly PieceReply[] }
  loadHead: { args: { location: ModelLocation; quant: 'native' | 'f32' }; answer: number }
  unloadHead: { args: { head: number }; answer: undefined }
  head: { args: { head: number; hidden: Float32Array }; answer: Float32Array }
  /** Runs a training step, or goes on with it when none is given; null when it was stopped. */
  train: { args: { job: number; step: TrainStep | undefined }; answer: TrainResult | null }
  /** Forgets a training step that was stopped. */
  endTrain: { args: { job: number }; answer: undefined }
  headLoss: { args: HeadLossStep; answer: HeadLoss }
  headRows: { args: HeadRowsStep; answer: Float32Array }
  stats: { args: undefined; answer: ComputeStats }
  /** Cancels the loading with this id. */
  cancel: { args: { id: number }; answer: undefined }
  /** Cuts a session whose step was cancelled. */
  cut: { args: { session: number; length: number }; answer: undefined }
  stop: { args: undefined; answer: undefined }
}

export type CallKind = keyof Calls

export type Request = {
  [K in CallKind]: { id: number; kind: K; args: Calls[K]['args'] }
}[CallKind]

export type Reply =
  | { id: number; ok: true; answer: Calls[CallKind]['answer'] }
  | { id: number; ok: false; error: ErrorRecord }
  | { warning: string }

/** An AppError as plain data: structured clone loses its class and fields. */
export interface ErrorRecord {
  code: ErrorCode
  message: string
  hint: string | undefined
  retryable: boolean
}

export function errorRecord(thrown: unknown): ErrorRecord {
  const { code, message, hint, retryable } = toAppError(thrown)
  return { code, message, hint, retryable }
}

export function recordedError(record: ErrorRecord): AppError {
  const { code, message, hint, retryable } = record
  return new AppError(code, message, hint === undefined ? { retryable } : { retryable, hint })
}

/** Buffers of a message that are transferred to the other thread. */
export function transfersOf(value: unknown): ArrayBuffer[] {
  if (value instanceof Float32Array) return [value.buffer as ArrayBuffer]
  if (Array.isArray(value)) return value.flatMap(transfersOf)
  if (typeof value !== 'object' || value === null) return []
  if ('pieces' in value) return transfersOf(value.pieces)
  if ('step' in value) return transfersOf(value.step)
  return 'hidden' in value ? transfersOf(value.hidden) : []
}
