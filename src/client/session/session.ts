// An inference session through a chain of servers. Whatever servers do, the resulting rows are
// those of one uninterrupted pass. Called by generate.ts with hidden states. Knows tokens only as
// names of prefixes, and no terminal.
//
// forward -> RouteKeeper.cover (plan, open) -> Pipeline.replay (cold hops) -> Pipeline.advance
// (rows)
// ^------------------- Failover.mend (after a HopFailure) ---------------------------'
import { systemClock, type Clock } from '../../base/clock.ts'
import { cancelled, closed, internal, toAppError, type AppError } from '../../base/errors.ts'
import { silentLog, type Log } from '../../base/log.ts'
import { freshSeed, seededRandom } from '../../base/random.ts'
import { Resource } from '../../base/resource.ts'
import { decodeTensor, encodeTensor } from '../../wire/tensor.ts'
import type { WireError, WireTensor } from '../../wire/types.ts'
import type { ClientLink } from '../route/links.ts'
import { RouteOptimizer, type SessionNow } from '../route/route-optimizer.ts'
import { hopName, uncovered, type RouteHop } from '../route/route.ts'
import { Chain } from './chain.ts'
import { Failover } from './failover.ts'
import type { Forwarded, ForwardOptions } from './forward.ts'
import { HopFailure } from './hop-failure.ts'
import { Pipeline } from './pipeline.ts'
import { PrefixNaming } from './prefix-naming.ts'
import { LEAST } from './prefix.ts'
import { beginOf } from './replay.ts'
import { RouteKeeper } from './route-keeper.ts'
import type { SessionOptions } from './session-options.ts'

export type { SessionOptions } from './session-options.ts'

/**
 * A server that would have made a better route refused: it is not asked again for this long, ms.
 */
const UNWILLING_MS = 60_000
/** An answer that exceeds its promise asks for this many more tokens at a time. */
const PROMISE_AHEAD = 512

export class InferenceSession extends Resource {
  readonly id: Uint8Array = crypto.getRandomValues(new Uint8Array(16))
  readonly #options: SessionOptions
  readonly #clock: Clock
  readonly #log: Log
  readonly #chain: Chain
  readonly #keeper: RouteKeeper
  readonly #pipeline: Pipeline
  readonly #naming: PrefixNaming | undefined
  readonly #optimizer: RouteOptimizer | undefined
  readonly #failover: Failover
  readonly #ending = new AbortController()
  #maxTokens: number
  #moves = 0
  /** The route that was logged last. */
  #told = ''
  #unlisten: () => void = () => {}
  #busy = false

  constructor(options: SessionOptions) {
    super()
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#log = options.log ?? silentLog
    const { positions = 0 } = options.adapters ?? {}
    this.#maxTokens = Math.min(options.maxTokens + positions, options.contextLength)
    const { dtype = 'f16', hiddenSize, prefix, silenceMs = 60_000, adapters } = options
    const model = adapters?.modelOf(options.model) ?? options.model
    if (prefix) this.#naming = new PrefixNaming({ ...prefix, model, dtype })
    const common = { session: this.id, clock: this.#clock }
    this.#chain = new Chain({ hiddenSize, dtype })
    this.#keeper = new RouteKeeper({
      ...options,
      ...common,
      chain: this.#chain,
      naming: this.#naming,
      forget: prefix?.forget,
      oncrossing: (peer, arithmetic) =>
        this.#log.debug(`${peer.slice(0, 8)} computes by ${arithmetic ?? 'another arithmetic'}`)
    })
    this.#pipeline = new Pipeline({
      ...common,
      chain: this.#chain,
      hiddenSize,
      blockCount: options.blockCount,
      silenceMs,
      book: options.book
    })
    this.#failover = new Failover({
      ...options,
      clock: this.#clock,
      log: this.#log,
      chain: this.#chain,
      keeper: this.#keeper
    })
    this.#optimizer = this.#makeOptimizer()
  }

  get route(): RouteHop[] {
    return this.#chain.route
  }

  /** Positions before the session's own: rows of an adapter's prompt. */
  get virtualTokens(): number {
    return this.#options.adapters?.positions ?? 0
  }

  /** Positions whose rows have passed all blocks and are held by the servers of the chain. */
  get heldTokens(): number {
    const { hops } = this.#chain
    if (uncovered(hops, 0, this.#options.blockCount).length > 0) return 0
    return Math.min(...hops.map(({ kv }) => kv))
  }

  /** Number of times that servers were replaced or opened again. */
  get reroutes(): number {
    return this.#failover.reroutes
  }

  /** Number of changes to a better route. */
  get moves(): number {
    return this.#moves
  }

  /** Asks servers to promise at least this many tokens before the next step. */
  reserve(maxTokens: number): void {
    const most = Math.min(maxTokens + this.virtualTokens, this.#options.contextLength)
    this.#maxTokens = Math.max(this.#maxTokens, most)
  }

  /**
   * Runs rows through all blocks. Positions from `start` on are dropped first.
   * @param hidden (rows, hiddenSize)
   * @throws AppError NO_ROUTE, CANCELLED, CLOSED, TIMEOUT or a server's final refusal
   */
  async forward(
    start: number,
    hidden: Float32Array,
    options: ForwardOptions = {}
  ): Promise<Forwarded> {
    if (!this.opened || this.closing) throw internal('The session is not open')
    if (this.#busy) throw internal('The session already runs a step')
    this.#busy = true
    const { signal } = options
    const ending = this.#ending.signal
    try {
      const either = signal ? AbortSignal.any([signal, ending]) : ending
      const own = this.#behindPrompt(start, hidden, { ...options, signal: either })
      return await this.#forward(own.start, own.hidden, own.options)
    } catch (error) {
      if (ending.aborted) throw closed('The session was closed')
      if (signal?.aborted) throw cancelled('The step was cancelled')
      throw error
    } finally {
      this.#busy = false
    }
  }

  /** An answer has ended at this length; whoever continues the text will ask for this prefix. */
  answerEnded(length: number): void {
    this.#keeper.name(this.#pipeline.lastStep, length + this.virtualTokens)
  }

  protected override async _open(): Promise<void> {
    const { opener } = this.#keeper
    this.#unlisten = this.#options.connections.listen(this.id, {
      adapters: this.#options.adapters?.source,
      onopened: (link, message) => opener.onopened(link, message),
      onresult: (link, message) => this.#pipeline.onresult(link, message),
      onerror: (link, message) => this.#onerror(link, message),
      ondisconnect: (link, why) => this.#ondisconnect(link, why)
    })
  }

  protected override async _close(): Promise<void> {
    this.#optimizer?.close()
    this.#ending.abort()
    this.#keeper.close(this.#pipeline.lastStep)
    this.#unlisten()
  }

  /**
   * Rows at their places behind those of an adapter's prompt, with these before them when they were
   * not sent yet.
   */
  #behindPrompt(
    start: number,
    hidden: Float32Array,
    options: ForwardOptions & { signal: AbortSignal }
  ): { start: number; hidden: Float32Array; options: ForwardOptions & { signal: AbortSignal } } {
    const { adapters, hiddenSize } = this.#options
    const count = this.virtualTokens
    if (adapters === undefined || count === 0) return { start, hidden, options }
    if (start > 0 || this.#chain.inputs(0).length >= count) {
      return { start: start + count, hidden, options }
    }
    const rows = new Float32Array(count * hiddenSize + hidden.length)
    rows.set(adapters.prompt)
    rows.set(hidden, count * hiddenSize)
    const { answerRows = hidden.length / hiddenSize, ids, onrows } = options
    // Their names say which adapter it is: any ids will do.
    const named = ids && [...Array.from({ length: count }, () => 0), ...ids]
    const counted = onrows && ((done: number) => onrows(Math.max(0, done - count)))
    const all = { ...options, answerRows, ...(named ? { ids: named } : {}), onrows: counted }
    return { start: 0, hidden: rows, options: all }
  }

  async #forward(
    start: number,
    hidden: Float32Array,
    options: ForwardOptions & { signal: AbortSignal }
  ): Promise<Forwarded> {
    const { ids, onrows, signal } = options
    const rows = hidden.length / this.#options.hiddenSize
    const { answerRows = rows } = options
    const end = start + rows
    await this.#changeRoute(signal)
    if (end > this.#maxTokens) this.reserve(end - this.virtualTokens + PROMISE_AHEAD)
    this.#chain.truncate(start)
    this.#pipeline.truncate(start)
    const encoding = this.#clock.now()
    const input = this.#encode(hidden, rows)
    this.#chain.inputs(0).write(start, input)
    this.#naming?.write(start, ids)
    const encodeMs = this.#clock.now() - encoding
    const { answer, ...taken } = await this.#failover.retry(
      () => this.#attempt({ start, end, answerRows, onrows }, signal),
      {
        signal,
        isFirst: () => this.#pipeline.lastStep < 0,
        adapt: (error) => error.code === 'UNSUPPORTED' && this.#widen()
      }
    )
    this.#keeper.name(this.#pipeline.lastStep, rows >= LEAST ? end : 0)
    const decoding = this.#clock.now()
    const output = decodeTensor(answer)
    const decodeMs = this.#clock.now() - decoding
    return { output, report: { ...taken, trace: this.#pipeline.trace, encodeMs, decodeMs } }
  }

  async #attempt(
    rows: { start: number; end: number; answerRows: number; onrows: ForwardOptions['onrows'] },
    signal: AbortSignal
  ): Promise<{ answer: WireTensor; coverMs: number; reused: number }> {
    const { start, end, answerRows } = rows
    const covering = this.#clock.now()
    await this.#keeper.cover(this.#maxTokens, signal)
    const coverMs = this.#clock.now() - covering
    this.#pipeline.observe(rows.onrows)
    const progress = this.#chain.progress()
    const begin = beginOf(progress, rows)
    const reused = Math.max(0, Math.min(begin, ...progress.map(({ kv }) => kv)) - start)
    const isNew = this.#tellRoute(coverMs)
    const replaying = this.#clock.now()
    await this.#pipeline.replay(begin, signal)
    const replayMs = Math.round(this.#clock.now() - replaying)
    if (isNew && start > 0) this.#log.debug(`history of ${start} replayed in ${replayMs} ms`)
    const answer = await this.#pipeline.advance(begin, end, answerRows, signal)
    return { answer, coverMs, reused }
  }

  #encode(hidden: Float32Array, rows: number): WireTensor {
    const { hiddenSize } = this.#options
    try {
      return encodeTensor(hidden, rows, hiddenSize, this.#chain.dtype)
    } catch (error) {
      if (toAppError(error).code !== 'UNSUPPORTED' || !this.#widen()) throw error
      return encodeTensor(hidden, rows, hiddenSize, this.#chain.dtype)
    }
  }

  /** Changes to the wider type, once, when a value did not fit. @returns whether it did so now */
  #widen(): boolean {
    const { widerDtype, onwiden } = this.#options
    if (!widerDtype || this.#chain.dtype === widerDtype) return false
    this.#log.debug(`values over the range of ${this.#chain.dtype}: ${widerDtype} from now on`)
    this.#chain.convert(widerDtype)
    this.#pipeline.forgetTrailing()
    this.#keeper.stopNaming()
    onwiden?.()
    return true
  }

  #makeOptimizer(): RouteOptimizer | undefined {
    const { optimizer = {}, find, look = find, random } = this.#options
    if (!optimizer) return undefined
    return new RouteOptimizer({
      ...this.#options,
      ...optimizer,
      look: async (abort) => {
        const servers = await look(abort)
        this.#keeper.know(servers)
        return servers
      },
      session: () => this.#now(),
      clock: this.#clock,
      random: random ?? seededRandom(freshSeed()),
      log: this.#log
    })
  }

  #now(): SessionNow {
    const historyTokens = this.#chain.inputs(0).length
    const hops = this.#chain.hops.map(({ link, start, end }) => {
      return { peer: link.peer, link, start, end }
    })
    const maxTokens = this.#maxTokens
    return { hops, historyTokens, tokensLeft: maxTokens - historyTokens, maxTokens }
  }

  /** Changes to a better route if one was found since the last step. */
  async #changeRoute(signal: AbortSignal): Promise<void> {
    const planned = this.#optimizer?.between()
    if (!planned) return
    try {
      await this.#keeper.change(planned, this.#maxTokens, signal)
      this.#optimizer?.moved()
      this.#moves++
      this.#log.debug(`a better route: ${planned.map((hop) => hop.peer.slice(0, 8)).join(' ')}`)
    } catch (thrown) {
      if (signal.aborted || !(thrown instanceof HopFailure)) throw thrown
      this.#log.debug(`no better route: ${thrown.error.message}`)
      this.#options.book.avoid(thrown.peer, this.#clock.now() + UNWILLING_MS)
    }
  }

  /** Logs the route if it has changed; returns whether it did. */
  #tellRoute(coverMs: number): boolean {
    const route = this.route.map((hop) => `${hopName(hop)}[${hop.start}:${hop.end}]`)
    // After a failover the route is logged even if it is the same.
    const text = `${route.join(' > ')} ${this.reroutes}`
    if (text === this.#told) return false
    this.#told = text
    this.#log.debug(`route ${route.join(' > ')}, opened in ${Math.round(coverMs)} ms`)
    return true
  }

  #onerror(link: ClientLink, message: WireError): void {
    if (message.step < 0) this.#keeper.opener.onerror(link, message)
    else this.#pipeline.onerror(link, message)
  }

  #ondisconnect(link: ClientLink, why: AppError): void {
    this.#keeper.opener.ondisconnect(link, why)
    if (this.#pipeline.running) this.#pipeline.ondisconnect(link, why)
    // Between steps: the server is removed now, so that the next step plans without it.
    else if (this.#chain.hops.some((hop) => hop.link === link)) {
      this.#failover.mend(new HopFailure(link.peer, why))
    }
  }
}
