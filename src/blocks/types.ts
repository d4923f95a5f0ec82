// The compute room's interface for the main thread: spans, sessions, steps and the client's head.
// Knows no peers; compute.ts starts the worker behind it.
import type { BlockSpan } from '../base/block-span.ts'
import type { ModelLocation } from '../model/types.ts'
import type { SpanAdapter, Weighted } from './adapters/adapter-types.ts'
import type {
  HeadLoss,
  HeadLossStep,
  HeadRowsStep,
  TrainResult,
  TrainStep
} from './train/train-types.ts'

/**
 * How weights are held. 'native' keeps the file's own types where the engine can hold them exactly.
 */
export type Quant = 'native' | 'f32' | 'f16' | 'int8' | 'int4'
/** How keys and values are held. */
export type KvType = 'f16' | 'f32' | 'int8'
/** Both; a quant by itself leaves keys and values to its default. */
export type Holding = Quant | { readonly quant: Quant; readonly kv?: KvType | undefined }
/** What blocks are turned into: programs for our own kernels on CPUs, ONNX graphs elsewhere. */
export type Lowering = 'kernels' | 'onnx'
export type Device = 'cpu' | 'cuda' | 'webgpu'
/**
 * 'onnx-cpu' is onnxruntime's CPU provider: it checks ONNX graphs in tests and is offered to no
 * user.
 */
export type ComputeDevice = Device | 'onnx-cpu'

export interface KeepOptions {
  /** `Paths.cache`. */
  cacheDir: string
  /** Most bytes of models and converted weights in it together. Default: what the disk has. */
  diskBytes?: number | undefined
}

export interface ComputeOptions {
  /** Threads of the engine. Default: max(1, cores - 1). */
  threads?: number
  /** Default 'cpu'. 'cuda' and 'webgpu' never fall back silently. */
  device?: ComputeDevice
  /** Which accelerator, default 0. */
  deviceId?: number
  /** Upper bound for weights plus KV in bytes. Default: 80 % of free memory at start. */
  memoryBytes?: number
  /**
   * Folder with onnxruntime's library. Default: the onnxruntime-node package's, in a source tree.
   */
  libraryDir?: string
  /** Folder with the kernels' libraries. Default: compiled from their sources, in a source tree. */
  kernelDir?: string
  /** Folder for unnamed weight files. Default: the system's folder for temporary files. */
  scratchDir?: string
  /** Where converted weights are kept, for models whose content id is known. Default: nowhere. */
  keep?: KeepOptions
  /** Called with a sentence about a problem of the disk that was worked around. */
  onwarn?: (text: string) => void
  /** Folder of CUDA's libraries by version. Default: `cuda` beside onnxruntime's library. */
  cudaDir?: string
}

export interface SpanOptions extends BlockSpan {
  location: ModelLocation
  quant: Quant
  /** Default: 'f32' with quant 'f32', else 'f16'; on accelerators always 'f32'. */
  kv?: KvType | undefined
}

export interface SpanInfo extends BlockSpan {
  readonly span: number
  readonly hiddenSize: number
  readonly weightBytes: number
  readonly kvBytesPerToken: number
  /** Tokens by which a session's memory grows. */
  readonly kvPageTokens: number
  /** Longest session in tokens. */
  readonly maxTokens: number
  /** What each source type became under `quant`, e.g. 'Q4_1 exact, 4 bits + minimum'. */
  readonly notes: readonly string[]
  /**
   * Name and version of its arithmetic, and how keys and values are held where that is not the
   * default ('petals-1', 'petals-1, kv int8'); absent when a library computes it.
   */
  readonly arithmetic?: string
  /** Its sessions can run with adapters. */
  readonly adapts?: true
  /** It takes steps of trainings. */
  readonly trains?: true
}

export interface StepInput {
  session: number
  /**
   * Position of the first row, at most the session's length. The session's KV is cut to it first.
   */
  start: number
  count: number
  /**
   * (count, hiddenSize), transferred: the caller loses it. A function makes the rows when they are
   * about to run, so that waiting steps hold no floats; the step fails with what it throws.
   */
  hidden: Float32Array | (() => Float32Array)
  /** Owners take turns: the peer whose session it is. Default: one owner for all that name none. */
  owner?: string
}

export interface StepOutput {
  /** (count, hiddenSize) */
  hidden: Float32Array
  /** Engine time, ms. */
  computeMs: number
  /** Time from posting to the answer that was not engine time, ms. */
  queueMs: number
}

export interface ComputeStats {
  weightBytes: number
  kvBytes: number
  sessions: number
  freeBytes: number
}

/** The main thread's side of the compute worker. All methods reject with AppError. */
export interface ComputeApi {
  loadSpan(options: SpanOptions, signal?: AbortSignal): Promise<SpanInfo>
  unloadSpan(span: number): Promise<void>
  /**
   * Opens an empty session. KV memory grows in steps as tokens arrive. `range` uses only blocks
   * [start, end) of the span (spans of a route may overlap); an ONNX graph for it is built on first
   * use over the same weights. Default: the whole span. `adapters` are numbers of loadAdapter():
   * what they add to a row is added in this order. Default: none.
   */
  openSession(
    span: number,
    range?: BlockSpan,
    adapters?: readonly Weighted<number>[]
  ): Promise<number>
  /**
   * Takes an adapter's numbers for all blocks of a span; `sizeBytes` of memory are used.
   * @throws AppError UNSUPPORTED on devices, BAD_INPUT, NO_MEMORY
   */
  loadAdapter(span: number, adapter: SpanAdapter): Promise<{ adapter: number; sizeBytes: number }>
  /** Frees an adapter once no session uses it; none can be opened with it any more. */
  unloadAdapter(adapter: number): Promise<void>
  closeSession(session: number): Promise<void>
  /**
   * A new session with the same first `length` tokens over the same blocks, independent from then
   * on.
   */
  forkSession(session: number, length: number): Promise<number>
  /** Runs one step. An abort ends it in the engine; the session's length is then `start`. */
  step(input: StepInput, signal?: AbortSignal): Promise<StepOutput>
  /**
   * A training step over whole sequences, without a session; it gives way to all other steps. What
   * it is given may be given away.
   */
  train(step: TrainStep, signal?: AbortSignal): Promise<TrainResult>
  /** Losses at the model's end and their gradient. What it is given may be given away. */
  headLoss(step: HeadLossStep, signal?: AbortSignal): Promise<HeadLoss>
  /**
   * Logits (rows, vocabSize) with float activations, as headLoss() takes them; with their gradient
   * the gradient (rows, hiddenSize) of the rows instead. What it is given may be given away.
   */
  headRows(step: HeadRowsStep, signal?: AbortSignal): Promise<Float32Array>
  /**
   * Loads final norm and output matrix. 'native' keeps the file's types as `Quant` does; 'f32' has
   * float activations.
   */
  loadHead(location: ModelLocation, quant: 'native' | 'f32'): Promise<number>
  unloadHead(head: number): Promise<void>
  /** hidden (count, hiddenSize) -> logits (count, vocabSize) */
  head(head: number, hidden: Float32Array, signal?: AbortSignal): Promise<Float32Array>
  stats(): Promise<ComputeStats>
}
