// An inference session through a chain of servers: keeps what each span was sent, and when a server
// fails, plans round it, opens the replacement, replays the span's inputs and goes on. Called by
// generate.ts with hidden states. Knows tokens only as names of prefixes, and no terminal.
//
// forward -> Chain.cover (plan, open) -> #replay (cold hops up to begin) -> #advance (the new rows)
//         ^------------------------- #mend (after a HopFailure) ------------------------'
import { sleep, systemClock, type Clock } from '../../base/clock.ts'
import { cancelled, disconnected, internal, toAppError } from '../../base/errors.ts'
import { silentLog, type Log } from '../../base/log.ts'
import { freshSeed, seededRandom } from '../../base/random.ts'
import { Resource } from '../../base/resource.ts'
import { decodeTensor, encodeTensor } from '../../wire/tensor.ts'
import type { StepResult, WireDtype, WireError, WireTensor } from '../../wire/types.ts'
import { Chain } from './chain.ts'
import { chunkRows } from './chunk-rows.ts'
import { HopFailure, type Hop } from '../route/hop.ts'
import { Leg, type LegTimes } from './leg.ts'
import type { ClientLink } from '../route/links.ts'
import { Naming } from './naming.ts'
import { Patience } from './patience.ts'
import { Pulse } from './pulse.ts'
import { Repairs } from './repairs.ts'
import { LEAST } from './prefix.ts'
import { beginOf, planReplay } from './replay.ts'
import type { RouteHop } from '../route/route.ts'
import { Scout } from '../route/scout.ts'
import type { SessionOptions } from './session-options.ts'
import { WaitTelling } from '../text/wait-telling.ts'

export type { SessionOptions } from './session-options.ts'

export interface HopTrace {
  readonly peer: string
  readonly blocks: number
  readonly computeMs: number
  readonly queueMs: number
}

export interface ForwardOptions {
  /** Last rows wanted. Default: all. */
  answerRows?: number
  /** The rows' token ids: servers may have met them before. */
  ids?: readonly number[]
  /** Called with rows that have gone through all blocks, as they do. */
  onrows?: ((rows: number) => void) | undefined
  signal?: AbortSignal | undefined
}

// Of prompts: 128 rows fill the engine's matrices and keep a decode step of others waiting little.
const CHUNK_ROWS = 128
// A frame is at most 8 MiB; a quarter of it keeps the chain of servers busy with several.
const CHUNK_BYTES = 2 * 1024 * 1024
// Steps under way: enough for every server of a chain to have one while others travel.
const WINDOW = 16
const WINDOW_ROWS = 1024
// What may be under way to one server; its link ends when 32 MiB wait, and others use it too.
const WINDOW_BYTES = 4 * 1024 * 1024
// A server that never says what it sent on leaves a hole in what can be replayed, and no more than
// that.
const MOST_TRAILING = 64
const OPEN_MS = 12_000
const FIND_AGAIN_MS = 300
const MOST_REST_MS = 2_000
/**
 * However many servers fail one after another, a step is given up after so many times its limit.
 */
const MOST_RECOVERS = 5
// For a first route, when servers are known but none of them answers.
const FIRST_MS = 12_000
// One that would have made a better route and refused: there is no hurry.
const UNWILLING_MS = 60_000
// An answer that outgrows its promise asks for this many tokens more, not for one at a time.
const PROMISE_AHEAD = 512

export class InferenceSession extends Resource {
  readonly id: Uint8Array = crypto.getRandomValues(new Uint8Array(16))
  /** Servers that were gone round or opened again. */
  reroutes = 0
  /** Times it went over to a better route by choice. */
  moves = 0
  /**
   * Of the last forward: rows that need not be run, since every server had kept what came of them.
   */
  reused = 0
  /** Of the last forward: what each hop reported. */
  trace: HopTrace[] = []
  /** Of the last forward: time to write the rows for the wire and to read the answer, ms. */
  codec: { encodeMs: number; decodeMs: number } = { encodeMs: 0, decodeMs: 0 }
  /** Of the last forward: time until every block had an open session, ms. */
  coverMs = 0
  readonly #options: SessionOptions
  readonly #clock: Clock
  readonly #log: Log
  readonly #dtype: WireDtype
  readonly #times: LegTimes
  readonly #pulse: Pulse
  readonly #naming: Naming | undefined
  readonly #chain: Chain
  readonly #scout: Scout | undefined
  #maxTokens: number
  readonly #repairs = new Repairs()
  readonly #patience: Patience
  #leg: Leg | undefined
  /** Legs that have their answer, while servers still send what they sent one another. */
  #trailing: Leg[] = []
  /** The route as the log has it. */
  #told = ''
  #step = 0
  #unlisten: () => void = () => {}
  #busy = false
  #onrows: ((rows: number) => void) | undefined

  constructor(options: SessionOptions) {
    super()
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#log = options.log ?? silentLog
    this.#dtype = options.dtype ?? 'f16'
    this.#maxTokens = options.maxTokens
    this.#times = { silenceMs: 60_000, pingEveryMs: 400, pingMs: 1_200, ...options.times }
    this.#pulse = new Pulse(this.#times.pingMs)
    this.#patience = new Patience(this.#times.silenceMs)
    const { connections, book, find, model, blockCount, hiddenSize, prefix } = options
    if (prefix) this.#naming = new Naming({ ...prefix, model, dtype: this.#dtype })
    this.#chain = new Chain({
      session: this.id,
      connections,
      book,
      find,
      model,
      blockCount,
      hiddenSize,
      dtype: this.#dtype,
      naming: this.#naming,
      forget: prefix?.forget,
      openMs: OPEN_MS,
      clock: this.#clock
    })
    this.#scout = this.#makeScout()
  }

  get route(): RouteHop[] {
    return this.#chain.route
  }

  /** Asks servers to promise at least this many tokens before the next step. */
  reserve(maxTokens: number): void {
    const most = Math.min(maxTokens, this.#options.contextLength)
    this.#maxTokens = Math.max(this.#maxTokens, most)
  }

  /**
   * Runs rows through all blocks. Positions from `start` on are forgotten first.
   * @param hidden (rows, hiddenSize)
   * @returns the last `answerRows` rows (answerRows, hiddenSize)
   * @throws AppError NO_ROUTE, CANCELLED, TIMEOUT or what a server refused for good
   */
  async forward(
    start: number,
    hidden: Float32Array,
    options: ForwardOptions = {}
  ): Promise<Float32Array> {
    if (!this.opened || this.closing) throw internal('The session is not open')
    if (this.#busy) throw internal('The session already runs a step')
    this.#busy = true
    try {
      const { signal } = options
      this.#onrows = options.onrows
      const rows = hidden.length / this.#options.hiddenSize
      const end = start + rows
      await this.#changeOver(signal)
      if (end > this.#maxTokens) this.reserve(end + PROMISE_AHEAD)
      this.#chain.truncate(start)
      for (const leg of this.#trailing) leg.truncate(start)
      const encoding = this.#clock.now()
      const input = encodeTensor(hidden, rows, this.#options.hiddenSize, this.#dtype)
      this.#chain.inputs(0).write(start, input)
      this.#naming?.write(start, options.ids)
      const encodeMs = this.#clock.now() - encoding
      const answer = await this.#retry(signal, async () => {
        const covering = this.#clock.now()
        await this.#chain.cover(this.#maxTokens, signal)
        this.coverMs = this.#clock.now() - covering
        this.trace = []
        const answerRows = options.answerRows ?? rows
        const stations = this.#chain.stations()
        const begin = beginOf(stations, { start, end, answerRows })
        this.reused = Math.max(0, Math.min(begin, ...stations.map(({ kv }) => kv)) - start)
        const isNew = this.#tellRoute()
        const replaying = this.#clock.now()
        await this.#replay(begin, signal)
        const replayMs = Math.round(this.#clock.now() - replaying)
        if (isNew && start > 0) this.#log.debug(`history of ${start} replayed in ${replayMs} ms`)
        return this.#advance(begin, end, answerRows, signal)
      })
      this.#repairs.done()
      this.#chain.name(this.#step - 1, rows >= LEAST ? end : 0)
      const decoding = this.#clock.now()
      const output = decodeTensor(answer)
      this.codec = { encodeMs, decodeMs: this.#clock.now() - decoding }
      return output
    } finally {
      this.#onrows = undefined
      this.#busy = false
    }
  }

  /** The text is `length` long for now: who goes on with it will ask for that. */
  rest(length: number): void {
    this.#chain.name(this.#step - 1, length)
  }

  protected override async _open(): Promise<void> {
    this.#unlisten = this.#options.connections.listen(this.id, {
      onopened: (link, message) => this.#chain.onopened(link, message),
      onresult: (link, message) => this.#onresult(link, message),
      onerror: (link, message) => this.#onerror(link, message),
      ondisconnect: (link) => this.#ondisconnect(link)
    })
  }

  protected override async _close(): Promise<void> {
    this.#scout?.close()
    this.#chain.close(this.#step - 1)
    this.#unlisten()
  }

  #makeScout(): Scout | undefined {
    const { scout = {}, connections, book, find, look = find, blockCount } = this.#options
    if (!scout) return undefined
    return new Scout({
      ...scout,
      connections,
      book,
      look: async (abort) => {
        const servers = await look(abort)
        this.#chain.know(servers)
        return servers
      },
      blockCount,
      session: () => {
        const historyTokens = this.#chain.inputs(0).length
        const [maxTokens, tokensLeft] = [this.#maxTokens, this.#maxTokens - historyTokens]
        const hops = this.#chain.hops.map(({ link, start, end }) => {
          return { peer: link.peer, link, start, end }
        })
        return { hops, historyTokens, tokensLeft, maxTokens }
      },
      clock: this.#clock,
      random: this.#options.random ?? seededRandom(freshSeed()),
      log: this.#log
    })
  }

  /** Goes over to a better route when one was found since the last step. */
  async #changeOver(signal: AbortSignal | undefined): Promise<void> {
    const planned = this.#scout?.between()
    if (!planned) return
    try {
      await this.#chain.change(planned, this.#maxTokens, signal)
      this.#scout?.moved()
      this.moves++
      this.#log.debug(`a better route: ${planned.map((hop) => hop.peer.slice(0, 8)).join(' ')}`)
    } catch (thrown) {
      if (signal?.aborted) throw cancelled('The step was cancelled')
      if (!(thrown instanceof HopFailure)) throw thrown
      this.#log.debug(`no better route: ${thrown.error.message}`)
      this.#options.book.avoid(thrown.peer, this.#clock.now() + UNWILLING_MS)
    }
  }

  async #retry<T>(signal: AbortSignal | undefined, attempt: () => Promise<T>): Promise<T> {
    const { recoverMs = 60_000, findMs = 5_000 } = this.#options
    let giveUpAt = Infinity
    let latestAt = Infinity
    using telling = new WaitTelling(this.#clock, this.#options.onwait)
    for (;;) {
      try {
        return await attempt()
      } catch (thrown) {
        if (signal?.aborted) throw cancelled('The step was cancelled')
        const error = thrown instanceof HopFailure ? thrown.error : toAppError(thrown)
        const now = this.#clock.now()
        const firstMs = thrown instanceof HopFailure ? Math.max(FIRST_MS, findMs) : findMs
        giveUpAt = Math.min(giveUpAt, now + (this.#step > 0 ? recoverMs : firstMs))
        latestAt = Math.min(latestAt, now + MOST_RECOVERS * recoverMs)
        // One server may have taken all the time there was: the next ones get some of their own.
        if (thrown instanceof HopFailure && this.#repairs.isNew(thrown.peer)) {
          giveUpAt = Math.min(latestAt, Math.max(giveUpAt, now + recoverMs / MOST_RECOVERS))
        }
        if (now >= giveUpAt || this.closing) throw error
        telling.note(error, giveUpAt)
        if (thrown instanceof HopFailure) {
          this.#mend(thrown)
          const restMs = Math.min(this.#repairs.restMs, MOST_REST_MS)
          if (restMs > 0) await this.#rest(restMs, signal)
        } else if (error.code !== 'NO_ROUTE') throw error
        else await this.#rest(FIND_AGAIN_MS, signal)
      }
    }
  }

  async #rest(ms: number, signal: AbortSignal | undefined): Promise<void> {
    await sleep(ms, { clock: this.#clock, ...(signal ? { signal } : {}) })
  }

  #mend(failure: HopFailure): void {
    const { peer, error, teller, also } = failure
    const chain = this.#chain
    const standing = { isHop: chain.has(peer), canCarry: (at: string) => chain.canCarry(at) }
    const repair = this.#repairs.decide(failure, standing)
    if (repair.kind === 'fatal') throw error
    const by = teller === undefined ? '' : ` (by ${teller.slice(0, 8)})`
    const cause = error.code === 'NO_ROUTE' && error.cause ? ` (${String(error.cause)})` : ''
    const what = `${peer.slice(0, 8)}: ${error.code} ${error.message}${cause}${by}`
    if (repair.kind === 'carry') {
      this.#log.debug(`carrying behind ${repair.after.slice(0, 8)}, for ${what}`)
      chain.carryAfter(repair.after)
    } else {
      this.#log.debug(`going round ${what}`)
      this.reroutes++
      this.#options.onreroute?.(peer, error)
      const { avoidMs, gone } = repair
      const goneAt = gone ? this.#clock.wall() : Infinity
      if (avoidMs > 0) this.#options.book.avoid(peer, this.#clock.now() + avoidMs, goneAt)
      chain.drop(peer)
      // The next route is news, also when it is the same.
      this.#told = ''
    }
    for (const one of also) this.#mend(one)
  }

  /** Brings every hop's KV up to `start`. */
  async #replay(start: number, signal: AbortSignal | undefined): Promise<void> {
    for (const { i, j, from, gather } of planReplay(this.#chain.stations(), start)) {
      await this.#send(i, j, { from, to: start, answerRows: 1, gather, signal })
    }
  }

  /** Sends the new rows from the deepest hop that has them as input. */
  async #advance(
    start: number,
    end: number,
    answerRows: number,
    signal: AbortSignal | undefined
  ): Promise<WireTensor> {
    const { hops } = this.#chain
    for (;;) {
      const deepest = hops.findLastIndex((hop) => hop.inputs.holds(start, end))
      const i = Math.max(0, deepest)
      let j = i + 1
      while (j < hops.length && !hops[j - 1]?.relay) j++
      const gather = j < hops.length
      const answer = await this.#send(i, j, { from: start, to: end, answerRows, gather, signal })
      if (!gather) return answer
    }
  }

  /**
   * Runs rows [from, to) through hops [i, j); `gather` keeps the answer as the next hop's input.
   */
  async #send(
    i: number,
    j: number,
    rows: {
      from: number
      to: number
      answerRows: number
      gather: boolean
      signal: AbortSignal | undefined
    }
  ): Promise<WireTensor> {
    const rowBytes = this.#options.hiddenSize * 4
    const most = Math.max(1, Math.min(CHUNK_ROWS, Math.floor(CHUNK_BYTES / rowBytes)))
    const count = chunkRows(rows.to - rows.from, j - i, most)
    const window = Math.min(WINDOW, WINDOW_ROWS / count, WINDOW_BYTES / (count * rowBytes))
    const leg = new Leg({
      session: this.id,
      hops: this.#chain.hops.slice(i, j),
      next: rows.gather ? this.#chain.hops[j] : undefined,
      from: rows.from,
      to: rows.to,
      answerRows: rows.answerRows,
      chunkRows: count,
      window: Math.max(2, Math.floor(window)),
      nextStep: () => this.#step++,
      times: this.#times,
      patience: this.#patience,
      pulse: this.#pulse,
      clock: this.#clock,
      signal: rows.signal,
      onanswer: (hop, result) => this.#note(hop, result),
      onping: (hop, ms) => this.#options.book.noteRtt(hop.link.peer, ms)
    })
    this.#leg = leg
    try {
      const answer = await leg.run()
      if (leg.trails) this.#trailing = [...this.#trailing.slice(1 - MOST_TRAILING), leg]
      return answer
    } finally {
      this.#leg = undefined
    }
  }

  /** Whether the route is another than the log has. */
  #tellRoute(): boolean {
    const route = this.route.map(({ peer, start, end }) => `${peer.slice(0, 8)}[${start}:${end}]`)
    const text = route.join(' > ')
    if (text === this.#told) return false
    this.#told = text
    this.#log.debug(`route ${text}, opened in ${Math.round(this.coverMs)} ms`)
    return true
  }

  #note(hop: Hop, result: StepResult): void {
    const status = result.trace.at(-1)?.status
    if (hop.end === this.#options.blockCount) this.#onrows?.(result.count)
    if (!status) return
    const blocks = hop.end - hop.start
    const { peer } = hop.link
    if (result.count === 1) this.#options.book.noteStep(peer, blocks, status, this.#clock.wall())
    const { computeMs, queueMs } = status
    this.trace.push({ peer, blocks, computeMs, queueMs })
  }

  #onresult(link: ClientLink, message: StepResult): void {
    this.#leg?.result(link, message)
    if (this.#trailing.length === 0) return
    for (const leg of this.#trailing) leg.result(link, message)
    this.#trailing = this.#trailing.filter((leg) => leg.trails)
  }

  #onerror(link: ClientLink, message: WireError): void {
    if (message.step < 0) this.#chain.onerror(link, message)
    else this.#leg?.error(link, message)
  }

  #ondisconnect(link: ClientLink): void {
    this.#chain.ondisconnect(link)
    const mine = this.#chain.hops.some((hop) => hop.link === link)
    if (this.#leg) this.#leg.disconnected(link)
    // Between steps: forget the server now, so that the next step plans round it at once.
    else if (mine) this.#mend(new HopFailure(link.peer, disconnected('The server went away')))
  }
}
