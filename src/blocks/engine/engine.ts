// Everything of the compute room that runs in the worker: spans, sessions and heads by number.
// Knows no messages: worker.ts turns them into calls, and runs the steps that are given out here.
import type { BlockSpan } from '../../base/block-span.ts'
import type { Pointer } from 'bun:ffi'
import { badInput, notFound, overLimit } from '../../base/errors.ts'
import type { Clock } from '../../base/clock.ts'
import { openModel } from '../../model/open-model.ts'
import type { Model, ModelLocation } from '../../model/types.ts'
import type { Backend } from '../backend.ts'
import { Head } from '../head.ts'
import { MemoryBudget } from '../memory-budget.ts'
import { Session } from './session.ts'
import { Span } from '../span.ts'
import { runTogether, StepJob, type StepOutcome, type StepShare } from './step-job.ts'
import type { ComputeStats, SpanInfo, SpanOptions, StepInput } from '../types.ts'

/** Sessions beyond this are a mistake or an attack: each holds an engine object even when empty. */
const MAX_SESSIONS = 4096
/** Rows of logits in one answer: 1024 of 49,152 values are 192 MiB. */
const MAX_HEAD_ROWS = 1024

/** Work that is done chunk by chunk. */
export interface Steps<Answer> {
  /** Runs one chunk; the answer after the last. */
  next(): Answer | undefined
}

export class Engine implements Disposable {
  readonly #backend: Backend
  readonly #budget: MemoryBudget
  readonly #clock: Clock
  readonly #spans = new Map<number, Span>()
  readonly #sessions = new Map<number, Session>()
  readonly #heads = new Map<number, Head>()
  #next = 1
  #batchedRuns = 0

  constructor(backend: Backend, memoryBytes: number, clock: Clock) {
    this.#backend = backend
    this.#budget = new MemoryBudget(memoryBytes)
    this.#clock = clock
  }

  async loadSpan(options: SpanOptions, checkpoint: () => Promise<void>): Promise<SpanInfo> {
    const { start, end, quant } = options
    const model = await openModel(options.location)
    try {
      checkRange({ start, end }, { start: 0, end: model.config.blockCount }, 'The model')
      const span = await Span.load(this.#backend, this.#budget, model, {
        start,
        end,
        quant,
        checkpoint
      })
      const id = this.#next++
      this.#spans.set(id, span)
      return span.info(id)
    } finally {
      model.close()
    }
  }

  /** Closes the span's sessions with it; returns their numbers. */
  unloadSpan(id: number): number[] {
    const span = this.#span(id)
    const ended: number[] = []
    for (const [session, { span: its }] of this.#sessions) {
      if (its !== span) continue
      this.closeSession(session)
      ended.push(session)
    }
    this.#spans.delete(id)
    span[Symbol.dispose]()
    return ended
  }

  openSession(spanId: number, range?: BlockSpan): number {
    const span = this.#span(spanId)
    if (range !== undefined) checkRange(range, span.range, 'The span')
    return this.#openSession(span, range ?? span.range)
  }

  /** @throws AppError BAD_INPUT over the session's length, NO_MEMORY */
  forkSession(id: number, length: number): number {
    const from = this.#session(id)
    const forked = this.#openSession(from.span, from.range)
    try {
      this.#session(forked).copy(from, length)
      return forked
    } catch (error) {
      this.closeSession(forked)
      throw error
    }
  }

  closeSession(id: number): void {
    const session = this.#session(id)
    this.#sessions.delete(id)
    session[Symbol.dispose]()
  }

  cutSession(id: number, length: number): void {
    this.#sessions.get(id)?.cut(length)
  }

  /** A step, computed in pieces; checked when its first one runs, as steps before it may change its session. */
  step(input: StepInput, run: Pointer | null): StepJob {
    const { chunkRows } = this.#backend
    const session = (): Session => this.#session(input.session)
    return new StepJob({ input, run, chunkRows, clock: this.#clock, session })
  }

  /** Which steps may run together: those over the same blocks. Undefined when its session is gone. */
  groupOf(sessionId: number): string | undefined {
    const session = this.#sessions.get(sessionId)
    if (session === undefined) return undefined
    const { span, range } = session
    return `${this.#numberOf(span)}/${range.start}:${range.end}`
  }

  /** How often several sessions ran at once, for tests and benchmarks. */
  get batchedRuns(): number {
    return this.#batchedRuns
  }

  /** Runs a piece of each step, of sessions of one group, at once where that is possible. */
  together(shares: readonly StepShare[]): StepOutcome[] {
    return runTogether(shares, this.#clock, (parts) => {
      const { span, range } = parts[0].session
      const failures = span.batch(range, parts.length)?.run(parts)
      if (failures !== undefined) this.#batchedRuns++
      return failures
    })
  }

  async loadHead(location: ModelLocation, quant: 'native' | 'f32'): Promise<number> {
    const model: Model = await openModel(location)
    try {
      const head = Head.load(this.#backend, this.#budget, model, quant)
      const id = this.#next++
      this.#heads.set(id, head)
      return id
    } finally {
      model.close()
    }
  }

  unloadHead(id: number): void {
    const head = this.#head(id)
    this.#heads.delete(id)
    head[Symbol.dispose]()
  }

  /** Logits of rows, cut into chunks. */
  head(id: number, hidden: Float32Array, run: Pointer | null): Steps<Float32Array> {
    let done = 0
    let logits: Float32Array | undefined
    const next = (): Float32Array | undefined => {
      const head = this.#head(id)
      const count = hidden.length / head.hiddenSize
      if (count > MAX_HEAD_ROWS) {
        throw overLimit(`The head cannot run on ${count} rows: ${MAX_HEAD_ROWS} are the most`)
      }
      logits ??= new Float32Array(Math.floor(count) * head.vocabSize)
      const end = Math.min(count, done + this.#backend.chunkRows)
      const input = hidden.subarray(done * head.hiddenSize, end * head.hiddenSize)
      head.run(input, logits.subarray(done * head.vocabSize, end * head.vocabSize), run)
      done = end
      return done === count ? logits : undefined
    }
    return { next }
  }

  stats(): ComputeStats {
    const spans = [...this.#spans.values()].map((span) => span.plan.weightBytes)
    const heads = [...this.#heads.values()].map((head) => head.weightBytes)
    const caches = [...this.#sessions.values()].map((session) => session.cacheBytes)
    const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0)
    return {
      weightBytes: sum(spans) + sum(heads),
      kvBytes: sum(caches),
      sessions: this.#sessions.size,
      freeBytes: this.#budget.freeBytes
    }
  }

  #openSession(span: Span, range: BlockSpan): number {
    if (this.#sessions.size >= MAX_SESSIONS) {
      throw overLimit(`A session cannot be opened: ${MAX_SESSIONS} are open`)
    }
    const session = new Session(this.#backend, this.#budget, span, range)
    const id = this.#next++
    this.#sessions.set(id, session)
    return id
  }

  #span(id: number): Span {
    const span = this.#spans.get(id)
    if (span === undefined) throw notFound(`Span ${id} is not loaded`)
    return span
  }

  #numberOf(span: Span): number {
    for (const [id, one] of this.#spans) if (one === span) return id
    return 0
  }

  #session(id: number): Session {
    const session = this.#sessions.get(id)
    if (session === undefined) throw notFound(`Session ${id} is not open`)
    return session
  }

  #head(id: number): Head {
    const head = this.#heads.get(id)
    if (head === undefined) throw notFound(`Head ${id} is not loaded`)
    return head
  }

  [Symbol.dispose](): void {
    for (const session of this.#sessions.values()) session[Symbol.dispose]()
    for (const head of this.#heads.values()) head[Symbol.dispose]()
    for (const span of this.#spans.values()) span[Symbol.dispose]()
    this.#sessions.clear()
    this.#heads.clear()
    this.#spans.clear()
  }
}

function checkRange(range: BlockSpan, whole: BlockSpan, what: string): void {
  const { start, end } = range
  const valid = Number.isInteger(start) && Number.isInteger(end) && start < end
  if (!valid || start < whole.start || end > whole.end) {
    throw badInput(
      `Blocks ${start}:${end} cannot be used: ${what.toLowerCase()} has ${whole.start}:${whole.end}`
    )
  }
}
