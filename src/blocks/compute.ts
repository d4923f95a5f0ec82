// The main thread's handle on the compute worker: calls become messages, answers settle promises.
// It owns the run options of every step, so that an abort stops the engine inside the worker.
// Knows no graphs and no weights.
import type { BlockSpan } from '../base/block-span.ts'
import { availableParallelism } from 'node:os'
import { systemClock, type Clock } from '../base/clock.ts'
import { badInput, cancelled, closed, type AppError } from '../base/errors.ts'
import { freeMemoryBytes } from '../base/free-memory.ts'
import { Resource } from '../base/resource.ts'
import type { ModelLocation } from '../model/types.ts'
import {
  recordedError,
  type CallKind,
  type Calls,
  type Reply,
  type WorkerOptions
} from './messages.ts'
import { OrtRuntime } from './ort/runtime.ts'
import { OrtRunOptions } from './ort/session.ts'
import type {
  ComputeApi,
  ComputeOptions,
  ComputeStats,
  SpanInfo,
  SpanOptions,
  StepInput,
  StepOutput
} from './types.ts'

/** Part of the free memory that weights and caches may take when nobody says. */
const MEMORY_SHARE = 0.8

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
  /** Of steps under way. */
  readonly #runs = new Set<OrtRunOptions>()
  readonly #idleRuns: OrtRunOptions[] = []
  /** When each session had its last answer. */
  readonly #answeredAt = new Map<number, number>()
  #runtime: OrtRuntime | undefined
  #worker: Worker | undefined
  #ended: Promise<void> | undefined
  #failure: AppError | undefined
  #nextId = 1
  #buildInfo = ''

  constructor(options: ComputeOptions = {}, internals: ComputeInternals = {}) {
    super()
    this.#options = resolveOptions(options)
    this.#onwarn = options.onwarn ?? (() => {})
    this.#clock = internals.clock ?? systemClock
    this.#workerUrl = internals.workerUrl ?? defaultWorkerUrl()
  }

  /** What the library says of itself; empty before `ready`. */
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

  async openSession(span: number, range?: BlockSpan): Promise<number> {
    return this.#call('openSession', { span, range })
  }

  async forkSession(session: number, length: number): Promise<number> {
    return this.#call('forkSession', { session, length })
  }

  async closeSession(session: number): Promise<void> {
    this.#answeredAt.delete(session)
    await this.#call('closeSession', { session })
  }

  async step(input: StepInput, signal?: AbortSignal): Promise<StepOutput> {
    const { session, start, count, hidden } = input
    const posted = this.#clock.now()
    const answered = this.#answeredAt.get(session)
    // The worker reads messages between runs, too late to tell how soon a step came after an answer.
    const gapMs = answered === undefined ? undefined : posted - answered
    const answer = await this.#stoppable(
      (run) => this.#call('step', { session, start, count, hidden: own(hidden), run, gapMs }),
      signal,
      // Too late to stop it: what it added must go all the same.
      () => void this.#call('cut', { session, length: start }).catch(() => {})
    )
    const now = this.#clock.now()
    this.#answeredAt.set(session, now)
    const elapsed = now - posted
    return {
      hidden: answer.hidden,
      computeMs: answer.computeMs,
      queueMs: Math.max(0, elapsed - answer.computeMs)
    }
  }

  async loadHead(location: ModelLocation, quant: 'native' | 'f32'): Promise<number> {
    return this.#call('loadHead', { location, quant })
  }

  async unloadHead(head: number): Promise<void> {
    await this.#call('unloadHead', { head })
  }

  async head(head: number, hidden: Float32Array, signal?: AbortSignal): Promise<Float32Array> {
    return this.#stoppable((run) => this.#call('head', { head, hidden: own(hidden), run }), signal)
  }

  async stats(): Promise<ComputeStats> {
    return this.#call('stats', undefined)
  }

  protected async _open(): Promise<void> {
    this.#runtime = new OrtRuntime(this.#options.libraryDir)
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
    this.#buildInfo = await this.#post('start', this.#options)
  }

  protected async _close(): Promise<void> {
    for (const run of this.#runs) run.terminate()
    if (this.#worker !== undefined && this.#failure === undefined) {
      // Its answer says that the engine is empty; only an idle worker may be terminated.
      await this.#post('stop', undefined).catch(() => {})
    }
    this.#worker?.terminate()
    await this.#ended
    for (const run of this.#idleRuns.splice(0)) run[Symbol.dispose]()
  }

  /** A call that a signal stops at the worker's next checkpoint. */
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

  /** Runs `call` with options that `signal` terminates; `late` when it was done before it heard. */
  async #stoppable<T>(
    call: (run: OrtRunOptions['handle']) => Promise<T>,
    signal: AbortSignal | undefined,
    late: () => void = () => {}
  ): Promise<T> {
    if (signal?.aborted) throw cancelled('The step was cancelled')
    if (!this.#isUsable()) await this.ready()
    const run = this.#idleRuns.pop() ?? new OrtRunOptions(this.#openRuntime())
    this.#runs.add(run)
    const id = this.#nextId
    const onabort = (): void => {
      // A run of it alone stops at once; a run that others share goes on without it.
      run.terminate()
      void this.#call('abort', { id }).catch(() => {})
    }
    signal?.addEventListener('abort', onabort, { once: true })
    try {
      const answer = await call(run.handle)
      if (!signal?.aborted) return answer
      late()
      throw cancelled('The step was cancelled')
    } catch (error) {
      throw signal?.aborted ? cancelled('The step was cancelled', { cause: error }) : error
    } finally {
      signal?.removeEventListener('abort', onabort)
      this.#runs.delete(run)
      run.reset()
      this.#idleRuns.push(run)
    }
  }

  #openRuntime(): OrtRuntime {
    if (this.#runtime === undefined) throw closed('The compute worker is not open')
    return this.#runtime
  }

  /**
   * Whether a message can go at once. Nobody waits for what is open already: calls reach the worker in
   * the order they were made in. @throws AppError CLOSED
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
      const buffers = transfersIn(args)
      this.#worker.postMessage({ id, kind, args }, buffers)
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
    scratchDir: options.scratchDir,
    keep: options.keep,
    cudaDir: options.cudaDir
  }
}

/** In an executable the worker is a second entry point, which the build lays beside the first. */
function defaultWorkerUrl(): string {
  return new URL('./worker.ts', import.meta.url).href
}

/** A buffer with nothing else in it, so that giving it away takes nothing from anybody. */
function own(values: Float32Array): Float32Array {
  const whole = values.byteOffset === 0 && values.byteLength === values.buffer.byteLength
  return whole ? values : values.slice()
}

function transfersIn(args: unknown): ArrayBuffer[] {
  if (typeof args !== 'object' || args === null || !('hidden' in args)) return []
  return args.hidden instanceof Float32Array ? [args.hidden.buffer as ArrayBuffer] : []
}
