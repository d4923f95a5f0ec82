// An engine of plain arithmetic whose answer at a position depends on every row before it, so that
// a lost, doubled or misplaced row shows. Sessions, rollback and errors behave as the real one's.
import { seededRandom } from '../../../src/base/random.ts'
import type { BlockSpan } from '../../../src/base/block-span.ts'
import { AppError, cancelled } from '../../../src/base/errors.ts'
import type { SpanAdapter, Weighted } from '../../../src/blocks/adapters/adapter-types.ts'
import type {
  ComputeApi,
  ComputeStats,
  SpanInfo,
  SpanOptions,
  StepInput,
  StepOutput
} from '../../../src/blocks/types.ts'
import type {
  HeadLoss,
  HeadLossStep,
  HeadRowsStep,
  TrainResult,
  TrainStep
} from '../../../src/blocks/train/train-types.ts'

interface FakeSession extends BlockSpan {
  /** Per block, the rows that went in. */
  readonly rows: Float32Array[][]
  /** Added to every value by every block. */
  readonly added: number
}

/** A step whose rows have been made. */
export type FakeInput = StepInput & { hidden: Float32Array }

/** One block: each value plus the mean of the same column over all rows so far, scaled by block. */
export function fakeBlock(block: number, rows: readonly Float32Array[], at: number): Float32Array {
  const row = rows[at] ?? new Float32Array(0)
  return row.map((value, column) => {
    let sum = 0
    for (let i = 0; i <= at; i++) sum += rows[i]?.[column] ?? 0
    return Math.fround(value * 0.5 + (sum / (at + 1)) * 0.25 + (block + 1) * 0.01)
  })
}

/** How the outputs' gradients go back to one input row of fakeBlock(). */
function fakeGradient(gradients: readonly Float32Array[], at: number): Float32Array {
  return (gradients[at] ?? new Float32Array(0)).map((value, column) => {
    let sum = 0
    for (let i = at; i < gradients.length; i++) sum += (gradients[i]?.[column] ?? 0) / (i + 1)
    return Math.fround(value * 0.5 + sum * 0.25)
  })
}

/** Rows (count, width) through blocks [0, blocks) at once: what a swarm of fakes must give. */
export function throughFakeBlocks(
  input: Float32Array,
  blocks: number,
  width: number
): Float32Array<ArrayBuffer> {
  let rows: Float32Array[] = Array.from({ length: input.length / width }, (_, at) =>
    input.slice(at * width, (at + 1) * width)
  )
  for (let block = 0; block < blocks; block++) {
    const from = rows
    rows = from.map((_, at) => fakeBlock(block, from, at))
  }
  return Float32Array.from(rows.flatMap((row) => [...row]))
}

/** Rows (count, width) of values from -0.5 to 0.5. */
export function randomRows(count: number, width: number, seed: number): Float32Array {
  const random = seededRandom(seed)
  return Float32Array.from({ length: count * width }, () => random.next() - 0.5)
}

function meanOf(values: Float32Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

export class FakeCompute implements ComputeApi {
  readonly hiddenSize: number
  readonly sessions: Map<number, FakeSession> = new Map()
  /** Called before each step; may throw or wait. */
  onstep: (input: FakeInput, signal?: AbortSignal) => Promise<void> | void = () => {}
  /** What each step says it took. */
  computeMs: () => number = () => 1
  steps: { session: number; start: number; count: number }[] = []
  /** By number: the mean of its numbers is added to every value by every block. */
  readonly adapters: Map<number, SpanAdapter> = new Map()
  #spans = new Map<number, SpanInfo>()
  #next = 1
  /** Settles with the last step of each session. */
  readonly #last = new Map<number, Promise<void>>()

  constructor(hiddenSize: number) {
    this.hiddenSize = hiddenSize
  }

  async loadSpan(options: SpanOptions): Promise<SpanInfo> {
    return this.span(options.start, options.end)
  }

  span(start: number, end: number): SpanInfo {
    const info: SpanInfo = {
      span: this.#next++,
      start,
      end,
      hiddenSize: this.hiddenSize,
      weightBytes: 0,
      kvBytesPerToken: 8,
      kvPageTokens: 64,
      maxTokens: 4096,
      notes: [],
      trains: true
    }
    this.#spans.set(info.span, info)
    return info
  }

  async unloadSpan(span: number): Promise<void> {
    this.#spans.delete(span)
  }

  async loadAdapter(
    _span: number,
    adapter: SpanAdapter
  ): Promise<{ adapter: number; sizeBytes: number }> {
    const id = this.#next++
    this.adapters.set(id, adapter)
    const sizeBytes = (adapter.lora?.values.byteLength ?? 0) + (adapter.prompts?.byteLength ?? 0)
    return { adapter: id, sizeBytes }
  }

  async unloadAdapter(adapter: number): Promise<void> {
    this.adapters.delete(adapter)
  }

  async openSession(
    span: number,
    range?: BlockSpan,
    adapters: readonly Weighted<number>[] = []
  ): Promise<number> {
    const info = this.#spans.get(span)
    if (!info) throw new AppError('NOT_FOUND', 'No such span')
    const { start, end } = range ?? info
    const id = this.#next++
    let added = 0
    for (const { adapter, weight } of adapters) {
      const found = this.adapters.get(adapter)
      if (!found) throw new AppError('NOT_FOUND', 'No such adapter')
      added += weight * meanOf(found.lora?.values ?? found.prompts ?? new Float32Array(1))
    }
    const rows = Array.from({ length: end - start }, () => [])
    this.sessions.set(id, { start, end, rows, added: Math.fround(added) })
    return id
  }

  async forkSession(session: number, length: number): Promise<number> {
    const from = this.sessions.get(session)
    if (!from) throw new AppError('NOT_FOUND', 'No such session')
    const id = this.#next++
    this.sessions.set(id, { ...from, rows: from.rows.map((rows) => rows.slice(0, length)) })
    return id
  }

  async closeSession(session: number): Promise<void> {
    this.sessions.delete(session)
  }

  /** Steps of one session follow each other; those of several are in the engine at once. */
  async step(input: StepInput, signal?: AbortSignal): Promise<StepOutput> {
    const before = this.#last.get(input.session)
    const running = before
      ? Promise.race([before.then(nextTurn), aborted(signal)]).then(() => this.#step(input, signal))
      : this.#step(input, signal)
    const settled = Promise.allSettled([before, running]).then(() => {
      if (this.#last.get(input.session) === settled) this.#last.delete(input.session)
    })
    this.#last.set(input.session, settled)
    return running
  }

  async #step(step: StepInput, signal?: AbortSignal): Promise<StepOutput> {
    if (signal?.aborted) throw cancelled('The step was cancelled')
    const hidden = typeof step.hidden === 'function' ? step.hidden() : step.hidden.slice()
    const input = { ...step, hidden }
    await this.onstep(input, signal)
    if (signal?.aborted) throw cancelled('The step was cancelled')
    const session = this.sessions.get(input.session)
    if (!session) throw new AppError('NOT_FOUND', 'No such session')
    this.steps.push({ session: input.session, start: input.start, count: input.count })
    for (let i = 0; i < session.rows.length; i++) {
      const rows = session.rows[i] ?? []
      if (rows.length < input.start) throw new AppError('BAD_INPUT', 'A gap in positions')
      rows.length = input.start
      for (let at = 0; at < input.count; at++) {
        rows.push(hidden.slice(at * this.hiddenSize, (at + 1) * this.hiddenSize))
        const out = fakeBlock(session.start + i, rows, input.start + at)
        hidden.set(
          out.map((value) => value + session.added),
          at * this.hiddenSize
        )
      }
    }
    return { hidden, computeMs: this.computeMs(), queueMs: 0 }
  }

  /** The same blocks over whole sequences; gradients are those of their plain arithmetic. */
  async train(step: TrainStep): Promise<TrainResult> {
    const { range, lengths, gradient } = step
    const rows = (gradient ?? step.hidden).slice()
    const sequences: Float32Array[][] = []
    let at = 0
    for (const length of lengths) {
      const sequence = Array.from({ length }, (_, i) =>
        rows.slice((at + i) * this.hiddenSize, (at + i + 1) * this.hiddenSize)
      )
      sequences.push(sequence)
      at += length
    }
    for (let block = range.start; block < range.end; block++) {
      for (const [i, sequence] of sequences.entries()) {
        sequences[i] = sequence.map((_, row) =>
          gradient === undefined ? fakeBlock(block, sequence, row) : fakeGradient(sequence, row)
        )
      }
    }
    const hidden = Float32Array.from(sequences.flat().flatMap((row) => [...row]))
    if (gradient === undefined) return { hidden }
    const sum = hidden.reduce((total, value) => total + value, 0)
    const { adapter } = step
    return { hidden, adapterGradient: adapter && adapter.values.map((value) => value + sum) }
  }

  /** Half the square of each value: the gradient is the value. */
  async headLoss({ hidden, targets, weight }: HeadLossStep): Promise<HeadLoss> {
    const width = this.hiddenSize
    const of = (row: number): number =>
      hidden.subarray(row * width, (row + 1) * width).reduce((sum, v) => sum + (v * v) / 2, 0)
    const losses = Float64Array.from(targets, (target, row) => (target < 0 ? 0 : of(row)))
    const kept = hidden.map((v, i) => (targets[Math.floor(i / width)]! < 0 ? 0 : v * weight))
    return { losses, hidden: kept }
  }

  /** As head(): the gradient is the logits' own. */
  async headRows({ hidden, gradient }: HeadRowsStep): Promise<Float32Array> {
    return (gradient ?? hidden).slice()
  }

  async loadHead(): Promise<number> {
    return 1
  }

  async unloadHead(): Promise<void> {}

  async head(_head: number, hidden: Float32Array): Promise<Float32Array> {
    return hidden.slice()
  }

  async stats(): Promise<ComputeStats> {
    return { weightBytes: 0, kvBytes: 0, sessions: this.sessions.size, freeBytes: 0 }
  }
}

/** Lets whoever waits for the last answer go on first, as the scheduler does. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Rejects when the signal aborts, and never settles without one. */
function aborted(signal: AbortSignal | undefined): Promise<void> {
  return new Promise((_, reject) => {
    signal?.addEventListener('abort', () => reject(cancelled('The step was cancelled')))
  })
}
