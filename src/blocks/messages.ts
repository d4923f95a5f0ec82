// What the main thread and the compute worker say to each other, and how errors cross between them.
// Knows no engine; buffers are transferred, never copied.
import type { BlockSpan } from '../base/block-span.ts'
import type { Pointer } from 'bun:ffi'
import { AppError, toAppError, type ErrorCode } from '../base/errors.ts'
import type { ModelLocation } from '../model/types.ts'
import type { KeepOptions } from './weights/kept-weights.ts'
import type { ComputeStats, Device, SpanInfo, SpanOptions, StepInput } from './types.ts'

/** What a worker is started with; every default is decided by then. */
export interface WorkerOptions {
  threads: number
  device: Device
  deviceId: number
  memoryBytes: number
  libraryDir: string | undefined
  scratchDir: string | undefined
  keep?: KeepOptions | undefined
  cudaDir?: string | undefined
}

/** Options of a run, owned by the main thread, which may terminate it while the worker is inside. */
interface Stoppable {
  run: Pointer
}

export interface StepReply {
  hidden: Float32Array
  computeMs: number
}

/** Arguments and answer of each call. */
export interface Calls {
  start: { args: WorkerOptions; answer: string }
  loadSpan: { args: SpanOptions; answer: SpanInfo }
  unloadSpan: { args: { span: number }; answer: undefined }
  openSession: { args: { span: number; range: BlockSpan | undefined }; answer: number }
  forkSession: { args: { session: number; length: number }; answer: number }
  closeSession: { args: { session: number }; answer: undefined }
  /** `gapMs`: how long after the session's last answer it was asked for. */
  step: { args: StepInput & Stoppable & { gapMs: number | undefined }; answer: StepReply }
  loadHead: { args: { location: ModelLocation; quant: 'native' | 'f32' }; answer: number }
  unloadHead: { args: { head: number }; answer: undefined }
  head: { args: { head: number; hidden: Float32Array } & Stoppable; answer: Float32Array }
  stats: { args: undefined; answer: ComputeStats }
  /** Stops the loading with this id. */
  cancel: { args: { id: number }; answer: undefined }
  /** Takes a step or a head's rows out that have not been answered: no run of others is disturbed. */
  abort: { args: { id: number }; answer: undefined }
  /** Cuts a session whose step was aborted too late to stop it. */
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

/** Buffers of an answer that the worker gives away. */
export function transfersOf(answer: unknown): ArrayBuffer[] {
  if (answer instanceof Float32Array) return [answer.buffer as ArrayBuffer]
  if (typeof answer === 'object' && answer !== null && 'hidden' in answer) {
    return transfersOf(answer.hidden)
  }
  return []
}
