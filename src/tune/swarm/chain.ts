// Whole sequences through all blocks of a model and back, over servers that keep nothing: the input
// of each span stays here, so that a span that fails is computed again elsewhere, and it alone.
// Knows no links: a TrainSwarm plans and calls.
import type { BlockSpan } from '../../base/block-span.ts'
import { sleep, type Clock } from '../../base/clock.ts'
import { AppError, protocolError, toAppError } from '../../base/errors.ts'
import { hasOnlyNumbers } from '../../blocks/finite.ts'
import type { StepDropout } from '../../blocks/train/train-types.ts'
import type { RouteHop } from '../../client/route/route.ts'

/** What is trained of blocks [start, end), and what is computed in them. */
export interface ChainStep {
  /** Rows of each sequence. */
  readonly lengths: readonly number[]
  /** The adapter of all blocks, block after block, if one is trained. */
  readonly adapter?: ChainAdapter | undefined
  readonly dropout?: StepDropout | undefined
  /** (blocks, positions, hiddenSize), of all blocks. */
  readonly prompts?: Float32Array | undefined
}

/** An adapter's numbers; another object when they have changed. */
export interface ChainAdapter {
  readonly shape: {
    readonly rank: number
    readonly scale: number
    readonly targets: readonly string[]
  }
  readonly values: Float32Array
}

export interface SpanCall {
  readonly hop: RouteHop
  readonly step: ChainStep
  /** (rows, hiddenSize) */
  readonly hidden: Float32Array
  /** Of the output; it makes the call a backward one. */
  readonly gradient?: Float32Array | undefined
}

export interface SpanAnswer {
  readonly hidden: Float32Array
  readonly adapterGradient?: Float32Array | undefined
  readonly promptGradient?: Float32Array | undefined
}

export interface TrainSwarm {
  /** Servers for blocks, in order. @throws AppError NO_ROUTE */
  plan(range: BlockSpan): Promise<readonly RouteHop[]>
  /** @throws AppError as the server or the way to it fails */
  call(call: SpanCall, signal: AbortSignal): Promise<SpanAnswer>
  /** The server is left out of plans for a while. */
  failed(peer: string, error: AppError): void
}

/** What a span was fed. */
export interface Kept {
  readonly hop: RouteHop
  readonly input: Float32Array
}

export interface Forward {
  /** Of all spans, in order. */
  readonly kept: readonly Kept[]
  /** (rows, hiddenSize), behind the last block. */
  readonly output: Float32Array
}

export interface Gradients {
  /** (rows, hiddenSize): of the first block's input. */
  readonly hidden: Float32Array
  /** Of all blocks, where they are trained. */
  readonly adapter?: Float32Array | undefined
  readonly prompts?: Float32Array | undefined
}

export interface ChainOptions {
  readonly swarm: TrainSwarm
  readonly blockCount: number
  readonly clock: Clock
  /** How long a step may go without any server's answer, ms. Default 5 min. */
  readonly patienceMs?: number | undefined
  /** Told of servers that failed. */
  readonly onfailure?: ((peer: string, error: AppError) => void) | undefined
}

const PATIENCE_MS = 300_000
const FIRST_WAIT_MS = 250
const LONGEST_WAIT_MS = 15_000

/** Failures that are the step's own: another server would say the same. */
const OWN = new Set(['CANCELLED', 'CLOSED'])
/** Failures that a second server has as well when the step is to blame. */
const FOR_GOOD = new Set(['COMPUTE', 'BAD_INPUT'])

export class Chain {
  readonly #options: ChainOptions

  constructor(options: ChainOptions) {
    this.#options = options
  }

  forward(step: ChainStep, hidden: Float32Array, signal: AbortSignal): Promise<Forward> {
    return this.#forward({ start: 0, end: this.#options.blockCount }, { step, hidden, signal })
  }

  /** Back through the spans that forward() went through. */
  async backward(
    step: ChainStep,
    { kept }: Forward,
    { gradient, signal }: { gradient: Float32Array; signal: AbortSignal }
  ): Promise<Gradients> {
    const { blockCount } = this.#options
    const sums = {
      adapter: step.adapter && new Float32Array(step.adapter.values.length),
      prompts: step.prompts && new Float32Array(step.prompts.length)
    }
    let rows = gradient
    for (const one of kept.toReversed()) {
      for (const { hop, answer } of await this.#backward(one, { step, gradient: rows, signal })) {
        rows = answer.hidden
        place(sums.adapter, answer.adapterGradient, { ...hop, blockCount })
        place(sums.prompts, answer.promptGradient, { ...hop, blockCount })
      }
    }
    return { hidden: rows, ...sums }
  }

  async #forward(
    range: BlockSpan,
    { step, hidden, signal }: { step: ChainStep; hidden: Float32Array; signal: AbortSignal }
  ): Promise<Forward> {
    const kept: Kept[] = []
    let rows = hidden
    let { start } = range
    const tries = this.#tries(signal)
    while (start < range.end) {
      const done = await tries.attempt(async () => {
        const [hop] = await this.#options.swarm.plan({ start, end: range.end })
        if (hop === undefined) throw new TypeError('A plan has no server')
        return { hop, answer: await this.#call({ hop, step, hidden: rows }, signal) }
      })
      if (done === undefined) continue
      kept.push({ hop: done.hop, input: rows })
      rows = done.answer.hidden
      start = done.hop.end
    }
    return { kept, output: rows }
  }

  /** Answers of the servers that a span came to, the last blocks' first. */
  async #backward(
    { hop, input }: Kept,
    of: { step: ChainStep; gradient: Float32Array; signal: AbortSignal }
  ): Promise<{ hop: RouteHop; answer: SpanAnswer }[]> {
    const { step, gradient, signal } = of
    const tries = this.#tries(signal)
    let last: RouteHop = hop
    for (;;) {
      const own = last
      const answer = await tries.attempt(() =>
        this.#call({ hop: own, step, hidden: input, gradient }, signal)
      )
      if (answer !== undefined) return [{ hop: own, answer }]
      const hops = await tries.attempt(() => this.#options.swarm.plan(hop), { isOnlyPlan: true })
      const [first, ...others] = hops ?? []
      if (first === undefined) continue
      if (others.length === 0) {
        last = first
        continue
      }
      // Several servers have these blocks: what goes into each is computed anew.
      const { kept } = await this.#forward(hop, { step, hidden: input, signal })
      const answers: { hop: RouteHop; answer: SpanAnswer }[] = []
      let rows = gradient
      for (const one of kept.toReversed()) {
        const parts = await this.#backward(one, { step, gradient: rows, signal })
        answers.push(...parts)
        rows = parts.at(-1)?.answer.hidden ?? rows
      }
      return answers
    }
  }

  async #call(call: SpanCall, signal: AbortSignal): Promise<SpanAnswer> {
    const { swarm, blockCount, onfailure } = this.#options
    const { hop, step, hidden, gradient } = call
    try {
      const answer = await swarm.call(call, signal)
      const share = (hop.end - hop.start) / blockCount
      const isBackward = gradient !== undefined
      checkRows(answer.hidden, hidden.length)
      if (isBackward && step.adapter) {
        checkRows(answer.adapterGradient, step.adapter.values.length * share)
      }
      if (isBackward && step.prompts) checkRows(answer.promptGradient, step.prompts.length * share)
      return answer
    } catch (thrown) {
      const error = toAppError(thrown)
      if (signal.aborted || OWN.has(error.code)) throw error
      if (error.code !== 'BUSY') swarm.failed(hop.peer, error)
      onfailure?.(hop.peer, error)
      throw error
    }
  }

  #tries(signal: AbortSignal): Tries {
    const { clock, patienceMs = PATIENCE_MS } = this.#options
    return new Tries(clock, patienceMs, signal)
  }
}

/** Attempts after each other, with growing waits, until patience ends. */
class Tries {
  readonly #clock: Clock
  readonly #patienceMs: number
  readonly #signal: AbortSignal
  #since: number
  #waitMs = FIRST_WAIT_MS
  #wrong = 0
  /** In a row. */
  #failed = 0

  constructor(clock: Clock, patienceMs: number, signal: AbortSignal) {
    this.#clock = clock
    this.#patienceMs = patienceMs
    this.#signal = signal
    this.#since = clock.now()
  }

  /** What `work` gives, or undefined when it failed and may be tried again. @throws AppError */
  async attempt<T>(
    work: () => Promise<T>,
    { isOnlyPlan = false }: { isOnlyPlan?: boolean } = {}
  ): Promise<T | undefined> {
    try {
      const done = await work()
      // Who is planned may still fail.
      if (isOnlyPlan) return done
      this.#since = this.#clock.now()
      this.#waitMs = FIRST_WAIT_MS
      this.#failed = 0
      return done
    } catch (thrown) {
      const error = toAppError(thrown)
      if (this.#signal.aborted || OWN.has(error.code)) throw error
      if (error.code === 'NO_ROUTE' && !error.retryable) throw error
      // One server may be wrong; two that come to no numbers, or refuse what they are given, have
      // the same reason.
      if (FOR_GOOD.has(error.code) && ++this.#wrong > 1) throw error
      if (this.#clock.now() - this.#since > this.#patienceMs) throw error
      const wait = Math.max(this.#waitMs, error.retryAfterMs ?? 0)
      this.#waitMs = Math.min(2 * this.#waitMs, LONGEST_WAIT_MS)
      // Another server is asked at once; nobody to ask, and failures in a row, are worth a wait.
      const isWaiting = error.code === 'NO_ROUTE' || error.code === 'BUSY' || ++this.#failed > 1
      if (isWaiting) await sleep(wait, { clock: this.#clock, signal: this.#signal })
      return undefined
    }
  }
}

/** Lays blocks' values where they belong among those of all blocks. */
function place(
  into: Float32Array | undefined,
  values: Float32Array | undefined,
  { start, end, blockCount }: { start: number; end: number; blockCount: number }
): void {
  if (into === undefined || values === undefined) return
  const each = into.length / blockCount
  if (values.length !== (end - start) * each) throw new TypeError('Gradients of other blocks')
  into.set(values, start * each)
}

/** @throws AppError PROTOCOL */
function checkRows(values: Float32Array | undefined, length: number): void {
  if (values === undefined || values.length !== length) {
    throw protocolError('A server answers a training step with values of another shape')
  }
  if (!hasOnlyNumbers(values)) {
    throw new AppError(
      'COMPUTE',
      'A server answers a training step with values that are no numbers'
    )
  }
}
