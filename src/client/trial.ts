// A few real steps through servers, one after the other as a route's steps go, each answered to the
// client: what every server takes as it is seen from here. Knows no routes; cli/plan.ts asks.
import { deadline, systemClock, type Clock } from '../base/clock.ts'
import { cancelled, disconnected, toAppError, type AppError } from '../base/errors.ts'
import { encodeTensor } from '../wire/tensor.ts'
import type { ServerStatus, WireDtype } from '../wire/types.ts'
import type { HopTimes } from './forecast.ts'
import { fromWire } from './hop.ts'
import type { ClientLink, Connections } from './links.ts'
import type { RouteHop } from './route.ts'

export interface TrialOptions {
  connections: Connections
  /** The model's content id. */
  model: Uint8Array
  hiddenSize: number
  dtype: WireDtype
  /** Tokens in the caches before the first step that is measured. Default 64. */
  promptTokens?: number
  /** Steps of each hop. Default 32, or 8 when they take long. */
  rounds?: number
  /** When to be content with fewer steps, ms. Default 4000. */
  enoughMs?: number
  /** The client's own part of a step, after each round: caches are then used as in a real answer. */
  between?: () => Promise<void>
  clock?: Clock
  signal?: AbortSignal | undefined
}

export type Tried =
  | { readonly kind: 'times'; readonly times: HopTimes }
  | { readonly kind: 'failed'; readonly error: AppError }

const PROMPT_TOKENS = 64
const ROUNDS = 32
const LEAST_ROUNDS = 8
const ENOUGH_MS = 4_000
const CONNECT_MS = 5_000
const STEP_MS = 30_000
const PINGS = 5
const PING_MS = 2_000

/** Tries every hop; one that fails does not hold the others up. @throws AppError CANCELLED */
export async function tryHops(
  hops: readonly RouteHop[],
  options: TrialOptions
): Promise<readonly Tried[]> {
  const { clock = systemClock, signal, between = async () => {} } = options
  const { rounds = ROUNDS, enoughMs = ENOUGH_MS } = options
  const trials = hops.map((hop) => new Trial(hop, options))
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

/** A session on one server. */
class Trial {
  readonly #hop: RouteHop
  readonly #options: TrialOptions
  readonly #clock: Clock
  readonly #session = crypto.getRandomValues(new Uint8Array(16))
  readonly #readings: Reading[] = []
  readonly #pings: number[] = []
  #link: ClientLink | undefined
  #waiting: PromiseWithResolvers<ServerStatus> = Promise.withResolvers()
  #error: AppError | undefined
  #steps = 0
  #length = 0
  #unlisten: () => void = () => {}

  constructor(hop: RouteHop, options: TrialOptions) {
    this.#hop = hop
    this.#options = options
    this.#clock = options.clock ?? systemClock
  }

  /** Reaches the server, opens a session and fills its cache. */
  begin(rounds: number): Promise<void> {
    return this.#guard(async () => {
      const { connections, model, promptTokens = PROMPT_TOKENS, signal } = this.#options
      const { peer, first, last } = this.#hop
      const session = this.#session
      this.#unlisten = connections.listen(session, {
        onopened: (_, message) => this.#waiting.resolve(message.status),
        onresult: (_, message) => {
          const status = message.trace.at(-1)?.status
          if (status && message.step === this.#steps - 1) this.#waiting.resolve(status)
        },
        onerror: (_, message) => this.#waiting.reject(fromWire(message)),
        ondisconnect: (link) => {
          if (link === this.#link) this.#waiting.reject(disconnected('The server went away'))
        }
      })
      const abort = signal ?? new AbortController().signal
      const link = await connections.connect(peer, abort, CONNECT_MS)
      this.#link = link
      const maxTokens = promptTokens + rounds + 1
      await this.#answer(() => link.open({ session, model, first, last, maxTokens }), 'Opening')
      for (let i = 0; i < PINGS; i++) this.#pings.push(await link.ping(PING_MS))
      if (promptTokens > 0) await this.#run(promptTokens)
    })
  }

  step(): Promise<void> {
    return this.#guard(async () => {
      const began = this.#clock.now()
      const status = await this.#run(1)
      this.#readings.push(readingOf(this.#clock.now() - began, status))
    })
  }

  tried(): Tried {
    if (this.#error) return { kind: 'failed', error: this.#error }
    const rttMs = typical(this.#pings)
    const [computeMs, queueMs, tripMs] = (['computeMs', 'queueMs', 'tripMs'] as const).map((key) =>
      typical(this.#readings.map((reading) => reading[key]))
    )
    const times = { computeMs: computeMs ?? 0, queueMs: queueMs ?? 0, tripMs: tripMs ?? 0, rttMs }
    return { kind: 'times', times: { ...this.#hop, ...times } }
  }

  close(): void {
    this.#unlisten()
    if (this.#link && !this.#link.closed) this.#link.closeSession({ session: this.#session })
  }

  async #run(count: number): Promise<ServerStatus> {
    const { hiddenSize, dtype } = this.#options
    const start = this.#length
    // Such as embeddings are: no row is like another and none is large.
    const rows = Float32Array.from({ length: count * hiddenSize }, (_, i) =>
      Math.sin((start * hiddenSize + i) * 0.37)
    )
    const tensor = encodeTensor(rows, count, hiddenSize, dtype)
    this.#length += count
    return this.#answer(
      () =>
        this.#link?.step({
          session: this.#session,
          step: this.#steps++,
          kind: 'forward',
          start,
          count,
          deadlineMs: STEP_MS,
          route: [],
          tensor,
          ...(count > 1 ? { answerRows: 1 } : {})
        }),
      'A step'
    )
  }

  async #answer(send: () => unknown, what: string): Promise<ServerStatus> {
    const { signal } = this.#options
    if (this.#link?.closed) throw disconnected('The server went away')
    this.#waiting = Promise.withResolvers()
    // Refused again below, where it is waited for.
    this.#waiting.promise.catch(() => {})
    send()
    return deadline(this.#waiting.promise, STEP_MS, { clock: this.#clock, signal, what })
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

/** A server's claims about a step, held within what the step took. */
function readingOf(ms: number, status: ServerStatus): Reading {
  const computeMs = within(status.computeMs, ms)
  const queueMs = within(status.queueMs, ms - computeMs)
  return { computeMs, queueMs, tripMs: ms - computeMs - queueMs }
}

function within(claim: number, most: number): number {
  return claim > 0 ? Math.min(claim, most) : 0
}

/** The largest tenth is left out: stalls, that a longer look would spread over more steps. */
const COUNTED = 0.9

/** The mean of nine tenths: answers take as long as their steps together, so no median. */
export function typical(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const counted = sorted.slice(0, Math.ceil(sorted.length * COUNTED))
  return counted.reduce((sum, value) => sum + value, 0) / Math.max(1, counted.length)
}
