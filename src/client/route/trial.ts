// Runs a few real steps through servers, to measure them from here: through each alone, or through
// several that push to one another. cli/plan/plan-swarm.ts chooses which.
import { deadline, systemClock, type Clock } from '../../base/clock.ts'
import { cancelled, disconnected, toAppError, type AppError } from '../../base/errors.ts'
import { encodeTensor } from '../../wire/tensor.ts'
import { fromWire } from '../../wire/peer-error.ts'
import type { ServerStatus, WireDtype } from '../../wire/types.ts'
import type { HopTimes } from './forecast.ts'
import type { ClientLink, Connections } from './links.ts'
import type { RouteHop } from './route.ts'

export interface TrialOptions {
  connections: Connections
  /** Content id of the model. */
  model: Uint8Array
  hiddenSize: number
  dtype: WireDtype
  /** Tokens in the caches before the first measured step. Default 64. */
  promptTokens?: number
  /** Steps of each hop. Default 48, or 8 if they take long. */
  rounds?: number
  /** After this time fewer steps are enough, ms. Default 4000. */
  enoughMs?: number
  /**
   * The client's own part of a step, called after each round, so that caches are used as in a real
   * answer.
   */
  between?: () => Promise<void>
  clock?: Clock
  signal?: AbortSignal | undefined
}

/** Times of a step through a chain, ms. */
export type ChainTimes = Pick<HopTimes, 'computeMs' | 'queueMs' | 'tripMs' | 'rttMs'>

export type Tried =
  | { readonly kind: 'times'; readonly times: ChainTimes }
  | { readonly kind: 'failed'; readonly error: AppError }

const PROMPT_TOKENS = 64
const ROUNDS = 48
const LEAST_ROUNDS = 8
const ENOUGH_MS = 4_000
const CONNECT_MS = 5_000
const STEP_MS = 30_000
const PINGS = 5
const PING_MS = 2_000

/**
 * Tries chains of one or more servers, one after another; a failing chain does not affect the
 * others.
 * @throws AppError CANCELLED
 */
export async function tryChains(
  chains: readonly (readonly RouteHop[])[],
  options: TrialOptions
): Promise<readonly Tried[]> {
  const { clock = systemClock, signal, between = async () => {} } = options
  const { rounds = ROUNDS, enoughMs = ENOUGH_MS } = options
  const trials = chains.map((hops) => new Trial(hops, options))
  try {
    await Promise.all(trials.map((trial) => trial.begin(rounds)))
    const began = clock.now()
    for (let round = 0; round < rounds; round++) {
      if (round >= LEAST_ROUNDS && clock.now() - began > enoughMs) break
      for (const trial of trials) await trial.step()
      await between()
    }
    if (signal?.aborted) throw cancelled('Trying servers was cancelled')
    return trials.map((trial) => trial.tried())
  } finally {
    for (const trial of trials) trial.close()
  }
}

/** What one step of one row took, ms. */
interface Reading {
  readonly computeMs: number
  readonly queueMs: number
  readonly tripMs: number
}

/** An answer that is expected from several servers, and what they reported. */
interface Waiting {
  readonly from: Set<string>
  readonly done: PromiseWithResolvers<Claims>
  computeMs: number
  queueMs: number
}

interface Claims {
  readonly computeMs: number
  readonly queueMs: number
}

/** A session on the servers of one chain. */
class Trial {
  readonly #hops: readonly RouteHop[]
  readonly #options: TrialOptions
  readonly #clock: Clock
  readonly #session = crypto.getRandomValues(new Uint8Array(16))
  readonly #readings: Reading[] = []
  readonly #pings: number[] = []
  #links: readonly ClientLink[] = []
  #waiting: Waiting | undefined
  #error: AppError | undefined
  #steps = 0
  #length = 0
  #unlisten: () => void = () => {}

  constructor(hops: readonly RouteHop[], options: TrialOptions) {
    this.#hops = hops
    this.#options = options
    this.#clock = options.clock ?? systemClock
  }

  /** Connects to the servers, opens a session on each and fills their caches. */
  begin(rounds: number): Promise<void> {
    return this.#guard(async () => {
      const { connections, model, promptTokens = PROMPT_TOKENS, signal } = this.#options
      const session = this.#session
      this.#unlisten = connections.listen(session, {
        onopened: (link, message) => this.#answered(link, message.status),
        onresult: (link, message) => {
          const status = message.trace.at(-1)?.status
          if (status && message.step === this.#steps - 1) this.#answered(link, status)
        },
        onerror: (_, message) => this.#waiting?.done.reject(fromWire(message)),
        ondisconnect: (link) => {
          if (this.#links.includes(link)) this.#waiting?.done.reject(goneAway())
        }
      })
      const abort = signal ?? new AbortController().signal
      this.#links = await Promise.all(
        this.#hops.map(({ peer }) => connections.connect(peer, abort, CONNECT_MS))
      )
      const maxTokens = promptTokens + rounds + 1
      await this.#ask('Opening', () => {
        for (const [i, { start, end }] of this.#hops.entries()) {
          this.#links[i]?.open({ session, model, start, end, maxTokens })
        }
      })
      const [first] = this.#links
      if (first) for (let i = 0; i < PINGS; i++) this.#pings.push(await first.ping(PING_MS))
      if (promptTokens > 0) await this.#run(promptTokens)
    })
  }

  step(): Promise<void> {
    return this.#guard(async () => {
      const began = this.#clock.now()
      const claims = await this.#run(1)
      this.#readings.push(readingOf(this.#clock.now() - began, claims))
    })
  }

  tried(): Tried {
    if (this.#error) return { kind: 'failed', error: this.#error }
    const of = (key: keyof Reading): number => typical(this.#readings.map((one) => one[key]))
    const times = { computeMs: of('computeMs'), queueMs: of('queueMs'), tripMs: of('tripMs') }
    return { kind: 'times', times: { ...times, rttMs: Math.min(...this.#pings) } }
  }

  close(): void {
    this.#unlisten()
    for (const link of this.#links) if (!link.closed) link.closeSession({ session: this.#session })
  }

  async #run(count: number): Promise<Claims> {
    const { hiddenSize, dtype } = this.#options
    const start = this.#length
    // Similar to embeddings: all rows differ and none is large.
    const rows = Float32Array.from({ length: count * hiddenSize }, (_, i) =>
      Math.sin((start * hiddenSize + i) * 0.37)
    )
    const tensor = encodeTensor(rows, count, hiddenSize, dtype)
    const behind = this.#hops.slice(1)
    this.#length += count
    return this.#ask('A step', () =>
      this.#links[0]?.step({
        session: this.#session,
        step: this.#steps++,
        kind: 'forward',
        start,
        count,
        deadlineMs: STEP_MS,
        route: behind.map(({ start, end }, i) => ({
          peer: this.#links[i + 1]?.key ?? new Uint8Array(32),
          start,
          end
        })),
        tensor,
        ...(behind.length > 0 ? { mirror: true } : {}),
        ...(count > 1 ? { answerRows: 1 } : {})
      })
    )
  }

  /** Sends, and waits until every server has answered. */
  async #ask(what: string, send: () => void): Promise<Claims> {
    const { signal } = this.#options
    if (this.#links.some((link) => link.closed)) throw goneAway()
    const done = Promise.withResolvers<Claims>()
    // It is handled below, where it is awaited.
    done.promise.catch(() => {})
    const from = new Set(this.#hops.map(({ peer }) => peer))
    this.#waiting = { from, done, computeMs: 0, queueMs: 0 }
    send()
    return deadline(done.promise, STEP_MS, { clock: this.#clock, signal, what })
  }

  #answered(link: ClientLink, status: ServerStatus): void {
    const waiting = this.#waiting
    if (!waiting?.from.delete(link.peer)) return
    waiting.computeMs += status.computeMs
    waiting.queueMs += status.queueMs
    if (waiting.from.size === 0) waiting.done.resolve(waiting)
  }

  /** Keeps the first failure and does nothing after it. */
  async #guard(work: () => Promise<void>): Promise<void> {
    if (this.#error || this.#options.signal?.aborted) return
    try {
      await work()
    } catch (error) {
      this.#error = toAppError(error)
    }
  }
}

function goneAway(): AppError {
  return disconnected('The server went away')
}

/** Servers' claims about a step, limited to what the step took in all. */
function readingOf(ms: number, claims: Claims): Reading {
  const computeMs = within(claims.computeMs, ms)
  const queueMs = within(claims.queueMs, ms - computeMs)
  return { computeMs, queueMs, tripMs: ms - computeMs - queueMs }
}

function within(claim: number, most: number): number {
  return claim > 0 ? Math.min(claim, most) : 0
}

/**
 * Share of values that count: the largest are left out, since a short trial would overrate a stall.
 */
const COUNTED = 0.97

/**
 * The mean without the largest values. Not the median, because an answer takes as long as all its
 * steps together.
 */
export function typical(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const counted = sorted.slice(0, Math.max(1, Math.floor(sorted.length * COUNTED)))
  return counted.reduce((sum, value) => sum + value, 0) / Math.max(1, counted.length)
}
