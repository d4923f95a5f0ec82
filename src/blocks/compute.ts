// The main thread's side of the compute worker: calls become messages, answers settle promises.
// Steps and rows for heads pass through the scheduler, which gives the worker one run at a time.
// Knows no graphs and no weights.
import { availableParallelism } from 'node:os'
import type { BlockSpan } from '../base/block-span.ts'
import { systemClock, type Clock } from '../base/clock.ts'
import { badInput, cancelled, closed, notFound, type AppError } from '../base/errors.ts'
import { freeMemoryBytes } from '../base/free-memory.ts'
import { Resource } from '../base/resource.ts'
import type { ModelLocation } from '../model/types.ts'
import {
  recordedError,
  transfersOf,
  type CallKind,
  type Calls,
  type Reply,
  type WorkerOptions
} from './messages.ts'
import type { SpanAdapter, Weighted } from './adapters/adapter-types.ts'
import { Scheduler, type PieceOutcome } from './scheduler/scheduler.ts'
import type { RunPiece } from './scheduler/step-job.ts'
import type {
  HeadLoss,
  HeadLossStep,
  HeadRowsStep,
  TrainResult,
  TrainStep
} from './train/train-types.ts'
import type {
  ComputeApi,
  ComputeOptions,
  ComputeStats,
  SpanInfo,
  SpanOptions,
  StepInput,
  StepOutput
} from './types.ts'

/** Share of free memory that weights and caches may take by default. */
const MEMORY_SHARE = 0.8
/** Rows of losses at once: a model's end is wide. */
const LOSS_ROWS = 64

interface Pending {
  resolve(answer: unknown): void
  reject(error: AppError): void
}

export interface ComputeInternals {
  clock?: Clock
  /** The worker's module. Default: worker.ts beside this file, or its place in an executable. */
  workerUrl?: string
}

export class Compute extends Resource implements ComputeApi {
  readonly #options: WorkerOptions
  readonly #onwarn: (text: string) => void
  readonly #clock: Clock
  readonly #workerUrl: string
  readonly #pending = new Map<number, Pending>()
  readonly #scheduler: Scheduler
  /** By session: steps of sessions with the same group, i.e. the same blocks, may share a run. */
  readonly #groups = new Map<number, string>()
  /** One word of shared memory: not 0 when the current run should end. */
  readonly #stop = new Int32Array(new SharedArrayBuffer(4))
  #chunkRows = 1
  #worker: Worker | undefined
  #ended: Promise<void> | undefined
  #failure: AppError | undefined
  #nextId = 1
  #nextTrain = 1
  #buildInfo = ''

  constructor(options: ComputeOptions = {}, internals: ComputeInternals = {}) {
    super()
    this.#options = resolveOptions(options)
    this.#onwarn = options.onwarn ?? (() => {})
    this.#clock = internals.clock ?? systemClock
    this.#workerUrl = internals.workerUrl ?? defaultWorkerUrl()
    this.#scheduler = new Scheduler({
      clock: this.#clock,
      rows: () => this.#chunkRows,
      run: (pieces) => this.#run(pieces),
      runHead: ({ session: head, hidden }) => this.#runHead(head, hidden),
      stop: () => Atomics.store(this.#stop, 0, 1),
      cut: (session, length) => void this.#call('cut', { session, length }).catch(() => {})
    })
  }

  /** The library's description of itself; empty before `ready`. */
  get buildInfo(): string {
    return this.#buildInfo
  }

  get threads(): number {
    return this.#options.threads
  }

  async loadSpan(options: SpanOptions, signal?: AbortSignal): Promise<SpanInfo> {
    return this.#load('loadSpan', options, signal)
  }

  async unloadSpan(span: number): Promise<void> {
    await this.#call('unloadSpan', { span })
  }

  async openSession(
    span: number,
    range?: BlockSpan,
    adapters?: readonly Weighted<number>[]
  ): Promise<number> {
    const session = await this.#call('openSession', { span, range, adapters })
    this.#groups.set(session, `${span}/${range ? `${range.start}:${range.end}` : 'all'}`)
    return session
  }

  async loadAdapter(
    span: number,
    adapter: SpanAdapter
  ): Promise<{ adapter: number; sizeBytes: number }> {
    return this.#call('loadAdapter', { span, adapter })
  }

  async unloadAdapter(adapter: number): Promise<void> {
    await this.#call('unloadAdapter', { adapter })
  }

  async forkSession(session: number, length: number): Promise<number> {
    const forked = await this.#call('forkSession', { session, length })
    this.#groups.set(forked, this.#groups.get(session) ?? '')
    return forked
  }

  async closeSession(session: number): Promise<void> {
    this.#groups.delete(session)
    const closing = this.#call('closeSession', { session })
    this.#scheduler.drop(session, closed('The session was closed while it computed'))
    await closing
  }

  async step(input: StepInput, signal?: AbortSignal): Promise<StepOutput> {
    if (!this.#isUsable()) await this.ready()
    const posted = this.#clock.now()
    const group = this.#groups.get(input.session)
    if (group === undefined) throw notFound(`Session ${input.session} is not open`)
    const { hidden, computeMs } = await this.#scheduler.step(input, group, signal)
    return { hidden, computeMs, queueMs: Math.max(0, this.#clock.now() - posted - computeMs) }
  }

  async train(step: TrainStep, signal?: AbortSignal): Promise<TrainResult> {
    if (!this.#isUsable()) await this.ready()
    const job = this.#nextTrain++
    let isBegun = false
    const run = async (): Promise<TrainResult | undefined> => {
      Atomics.store(this.#stop, 0, 0)
      const args = { job, step: isBegun ? undefined : step }
      isBegun = true
      return (await this.#post('train', args)) ?? undefined
    }
    try {
      return await this.#scheduler.train(run, signal)
    } catch (error) {
      if (isBegun) void this.#call('endTrain', { job }).catch(() => {})
      throw error
    }
  }

  async headLoss(step: HeadLossStep, signal?: AbortSignal): Promise<HeadLoss> {
    if (!this.#isUsable()) await this.ready()
    const { hidden, targets } = step
    const width = hidden.length / targets.length
    const losses = new Float64Array(targets.length)
    const gradient = new Float32Array(hidden.length)
    let first = 0
    // Steps of this process come between a few rows and the next.
    const some = async (): Promise<HeadLoss | undefined> => {
      const end = Math.min(first + LOSS_ROWS, targets.length)
      const rows = hidden.slice(first * width, end * width)
      const part = { ...step, hidden: rows, targets: targets.slice(first, end) }
      const found = await this.#post('headLoss', part)
      losses.set(found.losses, first)
      gradient.set(found.hidden, first * width)
      first = end
      return end < targets.length ? undefined : { losses, hidden: gradient }
    }
    return this.#scheduler.train(some, signal)
  }

  async headRows(step: HeadRowsStep, signal?: AbortSignal): Promise<Float32Array> {
    if (!this.#isUsable()) await this.ready()
    return this.#scheduler.train(() => this.#post('headRows', step), signal)
  }

  async loadHead(location: ModelLocation, quant: 'native' | 'f32'): Promise<number> {
    return this.#call('loadHead', { location, quant })
  }

  async unloadHead(head: number): Promise<void> {
    const unloading = this.#call('unloadHead', { head })
    this.#scheduler.dropHead(head, closed('The head was unloaded while it computed'))
    await unloading
  }

  async head(head: number, hidden: Float32Array, signal?: AbortSignal): Promise<Float32Array> {
    if (!this.#isUsable()) await this.ready()
    const rows = { session: head, start: 0, count: 1, hidden: own(hidden) }
    return (await this.#scheduler.step(rows, undefined, signal)).hidden
  }

  async stats(): Promise<ComputeStats> {
    return this.#call('stats', undefined)
  }

  protected async _open(): Promise<void> {
    const worker = new Worker(this.#workerUrl)
    this.#worker = worker
    worker.onmessage = ({ data }: MessageEvent<Reply>) => this.#settle(data)
    worker.onerror = (event) => {
      event.preventDefault()
      this.#fail(closed(`The compute worker failed: ${event.message}`))
    }
    this.#ended = new Promise((resolve) => {
      worker.addEventListener('close', () => {
        this.#fail(closed('The compute worker has ended'))
        resolve()
      })
    })
    const started = await this.#post('start', { ...this.#options, stop: this.#stop })
    this.#buildInfo = started.buildInfo
    this.#chunkRows = started.chunkRows
  }

  protected async _close(): Promise<void> {
    this.#scheduler.close(closed('The compute worker was closed'))
    if (this.#worker !== undefined && this.#failure === undefined) {
      // The answer means that the engine is empty. Only an idle worker may be terminated.
      await this.#post('stop', undefined).catch(() => {})
    }
    this.#worker?.terminate()
    await this.#ended
  }

  /** Loads, until `signal` aborts: then it stops at the worker's next checkpoint. */
  async #load(kind: 'loadSpan', args: SpanOptions, signal?: AbortSignal): Promise<SpanInfo> {
    if (signal?.aborted) throw cancelled('Loading was cancelled')
    if (!this.#isUsable()) await this.ready()
    const id = this.#nextId
    const answer = this.#post(kind, args)
    const onabort = (): void => void this.#call('cancel', { id }).catch(() => {})
    signal?.addEventListener('abort', onabort, { once: true })
    try {
      return await answer
    } finally {
      signal?.removeEventListener('abort', onabort)
    }
  }

  async #run(pieces: readonly RunPiece[]): Promise<PieceOutcome[]> {
    Atomics.store(this.#stop, 0, 0)
    const answers = await this.#post('run', { pieces })
    return answers.map((one) => (one instanceof Float32Array ? one : recordedError(one)))
  }

  async #runHead(head: number, hidden: Float32Array): Promise<PieceOutcome> {
    Atomics.store(this.#stop, 0, 0)
    return this.#post('head', { head, hidden })
  }

  /**
   * Whether a message can be sent at once. When the worker is open nobody waits, so that calls
   * reach it in the order in which they were made.
   * @throws AppError CLOSED
   */
  #isUsable(): boolean {
    if (this.closing) throw closed('The compute worker was closed')
    if (this.#failure !== undefined) throw this.#failure
    return this.opened
  }

  async #call<K extends CallKind>(kind: K, args: Calls[K]['args']): Promise<Calls[K]['answer']> {
    if (!this.#isUsable()) await this.ready()
    return this.#post(kind, args)
  }

  #post<K extends CallKind>(kind: K, args: Calls[K]['args']): Promise<Calls[K]['answer']> {
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined || this.#worker === undefined) {
        return reject(this.#failure ?? closed('The compute worker is not open'))
      }
      this.#pending.set(id, { resolve: resolve as (answer: unknown) => void, reject })
      this.#worker.postMessage({ id, kind, args }, transfersOf(args))
    })
  }

  #settle(reply: Reply): void {
    if ('warning' in reply) return this.#onwarn(reply.warning)
    const pending = this.#pending.get(reply.id)
    this.#pending.delete(reply.id)
    if (reply.ok) pending?.resolve(reply.answer)
    else pending?.reject(recordedError(reply.error))
  }

  #fail(error: AppError): void {
    this.#failure ??= error
    this.#scheduler.close(error)
    for (const pending of this.#pending.values()) pending.reject(this.#failure)
    this.#pending.clear()
  }
}

function resolveOptions(options: ComputeOptions): WorkerOptions {
  const { threads = Math.max(1, availableParallelism() - 1), device = 'cpu' } = options
  if (!Number.isInteger(threads) || threads < 1 || threads > 1024) {
    throw badInput(`${threads} threads cannot be used: give a whole number from 1 to 1024`)
  }
  return {
    threads,
    device,
    deviceId: options.deviceId ?? 0,
    memoryBytes: options.memoryBytes ?? Math.floor(freeMemoryBytes() * MEMORY_SHARE),
    libraryDir: options.libraryDir,
    kernelDir: options.kernelDir,
    scratchDir: options.scratchDir,
    keep: options.keep,
    cudaDir: options.cudaDir
  }
}

/** In an executable the worker is a second entry point, which the build lays beside the first. */
function defaultWorkerUrl(): string {
  return new URL('./worker.ts', import.meta.url).href
}

/** A buffer with nothing else in it, so that transferring it takes nothing else along. */
function own(values: Float32Array): Float32Array {
  const whole = values.byteOffset === 0 && values.byteLength === values.buffer.byteLength
  return whole ? values : values.slice()
}
