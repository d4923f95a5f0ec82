// What runs in the compute worker: spans, sessions and heads by number. Knows no messages and no
// order; worker.ts turns the scheduler's messages into calls.
import type { BlockSpan } from '../../base/block-span.ts'
import {
  badInput,
  notFound,
  overLimit,
  toAppError,
  unsupported,
  type AppError
} from '../../base/errors.ts'
import { openModel } from '../../model/open-model.ts'
import type { Model, ModelLocation } from '../../model/types.ts'
import type { LoadedAdapter, SpanAdapter, Weighted } from '../adapters/adapter-types.ts'
import { MemoryBudget } from '../memory-budget.ts'
import type {
  HeadLoss,
  HeadLossStep,
  HeadRowsStep,
  TrainResult,
  TrainStep
} from '../train/train-types.ts'
import { defaultKv, type SpanPlan } from '../span-plan.ts'
import type { ComputeStats, SpanInfo, SpanOptions } from '../types.ts'
import type {
  ComputeBackend,
  LoadedHead,
  LoadedSpan,
  RunPart,
  SpanSession,
  StopFlag
} from './loaded-span.ts'

/** More sessions are a mistake or an attack: each holds an object even when it is empty. */
const MAX_SESSIONS = 4096
/** Most rows of logits in one answer: 1024 rows of 49,152 values are 192 MiB. */
const MAX_HEAD_ROWS = 1024
/** Steps of training that wait: the server bounds them by peer. */
const MAX_TRAIN_STEPS = 256

/** Rows of one session in a run. */
export interface EnginePiece {
  readonly session: number
  /** Position of the first row. */
  readonly start: number
  /** Memory is allocated for positions before this one. */
  readonly end: number
  /** (rows, hiddenSize) */
  readonly hidden: Float32Array
}

/** A piece's rows (rows, hiddenSize), or its error. */
export type EngineOutcome = Float32Array | AppError

interface OpenSession {
  readonly span: LoadedSpan
  readonly session: SpanSession
  readonly adapters: readonly OpenAdapter[]
}

interface OpenAdapter {
  readonly span: LoadedSpan
  readonly memory: LoadedAdapter
  /** Sessions that use it. */
  users: number
  /** It is freed with the last of them. */
  isUnloaded: boolean
}

export class Engine implements Disposable {
  readonly #backend: ComputeBackend
  readonly #budget: MemoryBudget
  readonly #spans = new Map<number, LoadedSpan>()
  readonly #sessions = new Map<number, OpenSession>()
  readonly #adapters = new Map<number, OpenAdapter>()
  readonly #heads = new Map<number, LoadedHead>()
  /** Training steps that were begun, by number. */
  readonly #training = new Map<number, TrainStep>()
  #next = 1

  constructor(backend: ComputeBackend, memoryBytes: number) {
    this.#backend = backend
    this.#budget = new MemoryBudget(memoryBytes)
  }

  async loadSpan(options: SpanOptions, checkpoint: () => Promise<void>): Promise<SpanInfo> {
    const { start, end, quant, kv } = options
    const model = await openModel(options.location)
    try {
      checkRange({ start, end }, { start: 0, end: model.config.blockCount }, 'The model')
      const loading = { start, end, quant, kv, checkpoint }
      const span = await this.#backend.loadSpan(model, loading, this.#budget)
      const id = this.#next++
      this.#spans.set(id, span)
      return infoOf(id, span, this.#backend.arithmetic)
    } finally {
      model.close()
    }
  }

  /** Also closes the span's sessions. */
  unloadSpan(id: number): void {
    const span = this.#span(id)
    for (const [session, open] of this.#sessions) {
      if (open.span === span) this.closeSession(session)
    }
    for (const [adapter, one] of this.#adapters) if (one.span === span) this.unloadAdapter(adapter)
    for (const [job, step] of this.#training) if (step.span === id) this.#training.delete(job)
    this.#spans.delete(id)
    span[Symbol.dispose]()
  }

  openSession(
    spanId: number,
    range?: BlockSpan,
    adapters: readonly Weighted<number>[] = []
  ): number {
    const span = this.#span(spanId)
    if (range !== undefined) checkRange(range, span.range, 'The span')
    const used = adapters.map(({ adapter, weight }) => ({
      adapter: this.#adapter(adapter),
      weight
    }))
    const memories = used.map(({ adapter, weight }) => {
      if (adapter.span !== span) throw badInput('An adapter cannot be used: another span has it')
      return { adapter: adapter.memory, weight }
    })
    const open = used.map(({ adapter }) => adapter)
    return this.#add({ span, adapters: open }, () => {
      return span.openSession(range ?? span.range, memories)
    })
  }

  /** @throws AppError UNSUPPORTED, BAD_INPUT, NO_MEMORY */
  loadAdapter(spanId: number, adapter: SpanAdapter): { adapter: number; sizeBytes: number } {
    const span = this.#span(spanId)
    if (span.loadAdapter === undefined) {
      throw unsupported('Blocks on this device cannot use adapters yet', {
        hint: 'Use servers on the CPU'
      })
    }
    const memory = span.loadAdapter(adapter)
    const id = this.#next++
    this.#adapters.set(id, { span, memory, users: 0, isUnloaded: false })
    return { adapter: id, sizeBytes: memory.sizeBytes }
  }

  /** Frees an adapter, once no session uses it. */
  unloadAdapter(id: number): void {
    const adapter = this.#adapter(id)
    this.#adapters.delete(id)
    adapter.isUnloaded = true
    if (adapter.users === 0) adapter.memory[Symbol.dispose]()
  }

  /** @throws AppError BAD_INPUT if `length` exceeds the session's length, NO_MEMORY */
  forkSession(id: number, length: number): number {
    const open = this.#session(id)
    const { session } = open
    if (!isCount(length) || length > session.length) {
      throw badInput(`${length} tokens cannot be copied: the session has ${session.length}`)
    }
    return this.#add(open, () => session.fork(length))
  }

  closeSession(id: number): void {
    const { session, adapters } = this.#session(id)
    this.#sessions.delete(id)
    session[Symbol.dispose]()
    for (const adapter of adapters) {
      adapter.users--
      if (adapter.isUnloaded && adapter.users === 0) adapter.memory[Symbol.dispose]()
    }
  }

  cutSession(id: number, length: number): void {
    this.#sessions.get(id)?.session.cut(length)
  }

  /**
   * Runs pieces of different sessions over the same blocks in one run. An error of one piece does
   * not affect the others.
   */
  run(pieces: readonly EnginePiece[], stop: StopFlag): EngineOutcome[] {
    const outcomes: (EngineOutcome | undefined)[] = []
    const ready: { index: number; span: LoadedSpan; part: RunPart }[] = []
    for (const [index, piece] of pieces.entries()) {
      try {
        ready.push({ index, ...this.#prepare(piece) })
      } catch (error) {
        outcomes[index] = toAppError(error)
      }
    }
    const [leader] = ready
    const errors = leader?.span.run(
      ready.map(({ part }) => part),
      stop
    )
    for (const [i, { index, part }] of ready.entries()) outcomes[index] = errors?.[i] ?? part.result
    return outcomes.map((outcome) => outcome ?? notFound('A step was not run'))
  }

  /** Takes a training step, which train() then runs. @throws AppError LIMIT, NOT_FOUND */
  beginTrain(job: number, step: TrainStep): void {
    this.#span(step.span)
    if (this.#training.size >= MAX_TRAIN_STEPS) {
      throw overLimit(`A training step cannot be taken: ${MAX_TRAIN_STEPS} are waiting`)
    }
    this.#training.set(job, step)
  }

  /**
   * Runs a step that was begun, or goes on with it; undefined when it was stopped. With its result
   * or an error it is forgotten.
   */
  train(job: number, stop: StopFlag): TrainResult | undefined {
    const step = this.#training.get(job)
    if (step === undefined) throw notFound(`Training step ${job} was not begun`)
    const span = this.#span(step.span)
    if (span.train === undefined) {
      throw unsupported('Blocks on this device cannot be trained through', {
        hint: 'Use servers on the CPU'
      })
    }
    try {
      const result = span.train(step, stop)
      if (result !== undefined) this.#training.delete(job)
      return result
    } catch (error) {
      this.#training.delete(job)
      throw error
    }
  }

  endTrain(job: number): void {
    this.#training.delete(job)
  }

  async loadHead(location: ModelLocation, quant: 'native' | 'f32'): Promise<number> {
    const model: Model = await openModel(location)
    try {
      const head = this.#backend.loadHead(model, quant, this.#budget)
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

  /** Rows (rows, hiddenSize) to logits (rows, vocabSize). */
  head(id: number, hidden: Float32Array, stop: StopFlag): Float32Array {
    const head = this.#head(id)
    const count = hidden.length / head.hiddenSize
    if (!Number.isInteger(count) || count === 0) {
      throw badInput(
        `The head cannot run: ${hidden.length} values are no rows of ${head.hiddenSize}`
      )
    }
    if (count > MAX_HEAD_ROWS) {
      throw overLimit(`The head cannot run on ${count} rows: ${MAX_HEAD_ROWS} are the most`)
    }
    const logits = new Float32Array(count * head.vocabSize)
    head.run(hidden, logits, stop)
    return logits
  }

  headLoss({ head: id, hidden, targets, weight }: HeadLossStep): HeadLoss {
    const head = this.#head(id)
    if (head.loss === undefined) throw unsupported('Heads on this device cannot be trained through')
    if (targets.length === 0 || hidden.length !== targets.length * head.hiddenSize) {
      throw badInput('A loss has rows and targets of different numbers')
    }
    return head.loss(hidden, targets, weight)
  }

  /** Logits with float activations, or the gradient of rows from that of their logits. */
  headRows({ head: id, hidden, gradient }: HeadRowsStep): Float32Array {
    const head = this.#head(id)
    if (head.rows === undefined) throw unsupported('Heads on this device cannot be trained through')
    if (hidden.length > MAX_HEAD_ROWS * head.hiddenSize) {
      throw overLimit(`The head cannot run on so many rows: ${MAX_HEAD_ROWS} are the most`)
    }
    return head.rows(hidden, gradient)
  }

  stats(): ComputeStats {
    const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0)
    const spans = [...this.#spans.values()]
    return {
      weightBytes:
        sum(spans.map((span) => span.plan.weightBytes)) +
        sum([...this.#heads.values()].map((head) => head.weightBytes)),
      kvBytes: sum(spans.map((span) => span.kvBytes)),
      sessions: this.#sessions.size,
      freeBytes: this.#budget.freeBytes
    }
  }

  /**
   * Checks a piece and allocates memory for its step.
   * @throws AppError BAD_INPUT, LIMIT, NO_MEMORY, NOT_FOUND
   */
  #prepare(piece: EnginePiece): { span: LoadedSpan; part: RunPart } {
    const { start, end, hidden } = piece
    const { span, session } = this.#session(piece.session)
    const { contextLength, hiddenSize } = span.plan.config
    if (!isCount(start) || start > session.length) {
      throw badInput(`A step cannot start at ${start}: the session has ${session.length} tokens`)
    }
    const rows = hidden.length / hiddenSize
    if (!isCount(rows) || rows === 0 || !isCount(end) || start + rows > end) {
      throw badInput(
        `Rows of ${hiddenSize} values for positions ${start} to ${end} cannot run: ` +
          `${hidden.length} values were given`
      )
    }
    if (end > contextLength) {
      throw overLimit(`A step to token ${end} cannot run: the model ends at ${contextLength}`, {
        hint: 'Begin a new session'
      })
    }
    session.ensure(start, end)
    return { span, part: { session, hidden, result: new Float32Array(hidden.length) } }
  }

  #add(of: Omit<OpenSession, 'session'>, open: () => SpanSession): number {
    const { span, adapters } = of
    if (this.#sessions.size >= MAX_SESSIONS) {
      throw overLimit(`A session cannot be opened: ${MAX_SESSIONS} are open`)
    }
    const session = open()
    const id = this.#next++
    this.#sessions.set(id, { span, session, adapters })
    for (const adapter of adapters) adapter.users++
    return id
  }

  #span(id: number): LoadedSpan {
    const span = this.#spans.get(id)
    if (span === undefined) throw notFound(`Span ${id} is not loaded`)
    return span
  }

  #session(id: number): OpenSession {
    const session = this.#sessions.get(id)
    if (session === undefined) throw notFound(`Session ${id} is not open`)
    return session
  }

  #adapter(id: number): OpenAdapter {
    const adapter = this.#adapters.get(id)
    if (adapter === undefined) throw notFound(`Adapter ${id} is not loaded`)
    return adapter
  }

  #head(id: number): LoadedHead {
    const head = this.#heads.get(id)
    if (head === undefined) throw notFound(`Head ${id} is not loaded`)
    return head
  }

  [Symbol.dispose](): void {
    for (const { session } of this.#sessions.values()) session[Symbol.dispose]()
    for (const head of this.#heads.values()) head[Symbol.dispose]()
    for (const span of this.#spans.values()) span[Symbol.dispose]()
    this.#sessions.clear()
    this.#heads.clear()
    this.#spans.clear()
  }
}

function infoOf(id: number, loaded: LoadedSpan, arithmetic: string | undefined): SpanInfo {
  const { plan, range, pageTokens } = loaded
  return {
    span: id,
    start: range.start,
    end: range.end,
    hiddenSize: plan.config.hiddenSize,
    weightBytes: plan.weightBytes,
    kvBytesPerToken: plan.kvBytesPerToken,
    kvPageTokens: pageTokens,
    maxTokens: plan.config.contextLength,
    notes: plan.notes,
    ...(loaded.loadAdapter === undefined ? {} : { adapts: true as const }),
    ...(loaded.train === undefined ? {} : { trains: true as const }),
    ...(arithmetic === undefined ? {} : { arithmetic: `${arithmetic}${kvWord(plan)}` })
  }
}

/** Other keys and values give other rows: a client must not take such servers for the same. */
function kvWord({ quant, kv }: SpanPlan): string {
  return kv === defaultKv(quant) ? '' : `, kv ${kv}`
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
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
