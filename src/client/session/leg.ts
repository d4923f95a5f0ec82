// Sends rows through consecutive hops and gathers what comes back: the answer of the last hop and
// the mirrors of those before. Watches that every hop on the way stays alive.
// Called by session.ts, which decides what to do when a leg fails with a HopFailure.
import { cancelled, disconnected, protocolError, timedOut, toAppError } from '../../base/errors.ts'
import type { Clock } from '../../base/clock.ts'
import { fromWire } from '../../wire/peer-error.ts'
import type { StepResult, WireError, WireTensor } from '../../wire/types.ts'
import { HopFailure, isSoundTensor, type Hop } from '../route/hop.ts'
import type { ClientLink } from '../route/links.ts'
import type { Patience } from './patience.ts'
import type { Pulse } from './pulse.ts'

export interface LegTimes {
  /** Longest wait without any answer before the slowest hop is given up, ms. */
  silenceMs: number
  /** How often hops are pinged while a leg is under way, ms. */
  pingEveryMs: number
  /**
   * A hop that has not answered a ping after this is gone, ms; later when pings take long (Pulse).
   */
  pingMs: number
}

export interface LegOptions {
  session: Uint8Array
  /** Consecutive hops; the last one answers. */
  hops: readonly Hop[]
  /** The hop behind them, when its inputs must be gathered from the answer. */
  next: Hop | undefined
  /** Rows [from, to) of the first hop's inputs. */
  from: number
  to: number
  /** Last rows wanted of the answer. */
  answerRows: number
  /** Rows of one step at most. */
  chunkRows: number
  /** Steps under way at most. */
  window: number
  /** Gives the next step number. */
  nextStep: () => number
  times: LegTimes
  /** Of the whole session, both. */
  pulse: Pulse
  patience: Patience
  clock: Clock
  signal: AbortSignal | undefined
  /** Called with each hop's answer. */
  onanswer?: (hop: Hop, result: StepResult) => void
  /** Called with each round trip, ms. */
  onping?: (hop: Hop, ms: number) => void
}

interface Pending {
  readonly start: number
  readonly count: number
  readonly answerRows: number
  /** Hops that have not answered yet. */
  readonly waiting: Set<Hop>
  /** When it was sent, or last answered by one of them. */
  heardAt: number
}

export class Leg {
  readonly #options: LegOptions
  readonly #pending = new Map<number, Pending>()
  /**
   * By hop, up to where it has answered: a hop that skips rows would leave a hole in what the next
   * got.
   */
  readonly #reached = new Map<Hop, number>()
  readonly #done = Promise.withResolvers<WireTensor>()
  #sent: number
  #answer: WireTensor | undefined
  #heardAt: number
  /** By hop, when the pings were sent that are not answered; in our own time, see #ownNow. */
  readonly #pings = new Map<Hop, number[]>()
  /** Time in which this process did not run: no server's fault. */
  #stalledMs = 0
  #stopWatch: () => void = () => {}
  #settled = false
  /**
   * Answered, while mirrors are still on their way: rows from here on have been taken back since.
   */
  #validTo = Infinity

  constructor(options: LegOptions) {
    this.#options = options
    this.#sent = options.from
    this.#heardAt = options.clock.now()
  }

  /** Rows (answerRows, hidden) of the last hop. @throws HopFailure, or AppError CANCELLED */
  async run(): Promise<WireTensor> {
    const { signal } = this.#options
    const onabort = (): void => this.#fail(cancelled('The step was cancelled'))
    if (signal?.aborted) onabort()
    signal?.addEventListener('abort', onabort, { once: true })
    try {
      this.#fill()
      this.#watch()
      return await this.#done.promise
    } catch (error) {
      this.#cancelRest()
      throw error
    } finally {
      this.#stopWatch()
      signal?.removeEventListener('abort', onabort)
    }
  }

  /** Whether servers still owe what they sent one another, which only a replay will need. */
  get trails(): boolean {
    return this.#pending.size > 0
  }

  /** Rows from `length` on are others by now. */
  truncate(length: number): void {
    this.#validTo = Math.min(this.#validTo, length)
  }

  result(link: ClientLink, message: StepResult): void {
    const pending = this.#pending.get(message.step)
    const hop = this.#hopOf(link)
    if (!pending || !hop || !pending.waiting.has(hop)) return
    if (this.#settled) {
      this.#trail(hop, pending, message)
      return
    }
    this.#heardAt = this.#options.clock.now()
    this.#alive(hop)
    try {
      this.#take(hop, pending, message)
      const ms = this.#heardAt - pending.heardAt
      this.#options.patience.note(pending.count, hop.end - hop.start, ms)
      pending.heardAt = this.#heardAt
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      this.#fail(new HopFailure(link.peer, protocolError(why)))
      return
    }
    this.#options.onanswer?.(hop, message)
    if (pending.waiting.size === 0) {
      this.#pending.delete(message.step)
      this.#fill()
    }
    if (!this.#answer) return
    this.#settled = true
    // What came out at the end went through all of them.
    for (const one of this.#options.hops) one.kv = this.#options.to
    this.#done.resolve(this.#answer)
  }

  /** A mirror that came behind the answer: kept where it still fits, and no reason to fail. */
  #trail(hop: Hop, pending: Pending, message: StepResult): void {
    const { hops } = this.#options
    const next = hops[hops.indexOf(hop) + 1]
    pending.waiting.delete(hop)
    if (pending.waiting.size === 0) this.#pending.delete(message.step)
    const { start, count } = pending
    const rows = Math.min(count, this.#validTo - start)
    if (rows <= 0 || next?.inputs.length !== start) return
    if (this.#fault(hop, pending, message) === undefined) {
      next.inputs.write(start, firstRows(message.tensor, rows))
    }
  }

  error(link: ClientLink, message: WireError): void {
    const pending = this.#pending.get(message.step)
    const hop = this.#hopOf(link)
    if (!pending || !hop) return
    const error = fromWire(message)
    // A hop that has answered this step speaks of the one it pushed to.
    const at = this.#options.hops.indexOf(hop)
    const behind = pending.waiting.has(hop) ? undefined : this.#options.hops[at + 1]
    if (!behind || error.code === 'UNAVAILABLE') this.#fail(new HopFailure(link.peer, error))
    else this.#fail(new HopFailure(behind.link.peer, error, { teller: link.peer }))
  }

  disconnected(link: ClientLink): void {
    if (!this.#hopOf(link)) return
    this.#fail(new HopFailure(link.peer, disconnected('The server went away')))
  }

  /** What is wrong with an answer. */
  #fault(hop: Hop, pending: Pending, message: StepResult): string | undefined {
    const rows = hop === this.#options.hops.at(-1) ? pending.answerRows : pending.count
    const { tensor } = message
    if (message.start !== pending.start || message.count !== pending.count) {
      return 'The server answered for other positions than were asked'
    }
    if (message.end !== hop.end || tensor.rows !== rows) {
      return `The server answered ${tensor.rows} rows up to block ${message.end}`
    }
    if (tensor.columns !== hop.inputs.columns || tensor.dtype !== hop.inputs.dtype) {
      return `The server answered ${tensor.dtype} rows of ${tensor.columns}`
    }
    return isSoundTensor(tensor) ? undefined : 'The server answered values that no block makes'
  }

  #take(hop: Hop, pending: Pending, message: StepResult): void {
    const { hops, next } = this.#options
    const final = hop === hops.at(-1)
    const { tensor } = message
    const reached = this.#reached.get(hop) ?? this.#options.from
    if (pending.start !== reached) throw new Error('The server left out a step')
    const fault = this.#fault(hop, pending, message)
    if (fault !== undefined) throw new Error(fault)
    const behind = final ? next : hops[hops.indexOf(hop) + 1]
    if (behind && tensor.rows === pending.count) behind.inputs.write(pending.start, tensor)
    hop.kv = pending.start + pending.count
    this.#reached.set(hop, hop.kv)
    pending.waiting.delete(hop)
    if (final && hop.kv === this.#options.to)
      this.#answer = { ...tensor, data: new Uint8Array(tensor.data) }
  }

  #fill(): void {
    const { hops, to, window, chunkRows, next, session, nextStep, times, clock } = this.#options
    const first = hops[0]
    if (!first) return
    while (this.#sent < to && this.#pending.size < window && !this.#settled) {
      const start = this.#sent
      const count = Math.min(chunkRows, to - start)
      const ends = start + count === to
      const answerRows = next ? count : ends ? Math.min(this.#options.answerRows, count) : 1
      const step = nextStep()
      this.#pending.set(step, {
        start,
        count,
        answerRows,
        waiting: new Set(hops),
        heardAt: clock.now()
      })
      this.#sent += count
      first.link.step({
        session,
        step,
        kind: 'forward',
        start,
        count,
        deadlineMs: times.silenceMs,
        route: hops.slice(1).map((hop) => ({
          peer: hop.link.key,
          start: hop.start,
          end: hop.end
        })),
        tensor: first.inputs.read(start, count),
        ...(hops.length > 1 ? { mirror: true } : {}),
        ...(answerRows < count ? { answerRows } : {})
      })
    }
  }

  #watch(): void {
    const { clock, hops, times, pulse } = this.#options
    const tickMs = times.pingEveryMs / 2
    let due = clock.now() + tickMs
    let tick = 0
    const look = (): void => {
      if (this.#settled) return
      const now = clock.now()
      pulse.late(now - due)
      this.#stalledMs += Math.max(0, now - due)
      const limitMs = this.#limitMs()
      if (now - this.#heardAt > limitMs) {
        this.#giveUp(limitMs)
        return
      }
      if (++tick % 2 === 0) for (const hop of hops) this.#ping(hop)
      for (const hop of hops) this.#judge(hop)
      due = now + tickMs
      this.#stopWatch = clock.after(tickMs, look)
    }
    this.#stopWatch = clock.after(tickMs, look)
  }

  #limitMs(): number {
    const { hops, patience, times } = this.#options
    const [oldest] = this.#pending.values()
    const hop = hops.find((one) => oldest?.waiting.has(one))
    return oldest && hop ? patience.limitMs(oldest.count, hop.end - hop.start) : times.silenceMs
  }

  /**
   * The first hop that has not answered is to blame, or the one before it that should have pushed.
   */
  #giveUp(limitMs: number): void {
    const { hops, patience } = this.#options
    patience.ranOut()
    const [oldest] = this.#pending.values()
    const at = hops.findIndex((hop) => oldest?.waiting.has(hop))
    const [silent, before] = [hops[at], hops[at - 1]]
    const why = timedOut(`The server did not answer within ${Math.round(limitMs)} ms`)
    const details = before ? { teller: before.link.peer, hung: true } : { hung: true }
    if (silent) this.#fail(new HopFailure(silent.link.peer, why, details))
  }

  /** Stands still while this process does: a pong may have come and wait to be read. */
  #ownNow(): number {
    return this.#options.clock.now() - this.#stalledMs
  }

  #ping(hop: Hop): void {
    const waiting = this.#pings.get(hop) ?? []
    this.#pings.set(hop, waiting)
    waiting.push(this.#ownNow())
    hop.link.ping(this.#options.pulse.mostMs).then(
      (ms) => {
        waiting.shift()
        this.#options.pulse.note(hop.link.peer, ms)
        this.#options.onping?.(hop, ms)
      },
      (error: unknown) => {
        const { code } = toAppError(error)
        // That the pong is late is #judge's to see; our own limit on pings is no fault of the
        // server.
        if (code !== 'TIMEOUT' && code !== 'LIMIT') this.disconnected(hop.link)
      }
    )
  }

  #judge(hop: Hop): void {
    const [askedAt = Infinity] = this.#pings.get(hop) ?? []
    const limitMs = this.#options.pulse.limitMs(hop.link.peer)
    if (this.#ownNow() - askedAt <= limitMs) return
    const why = timedOut(`The server is silent for ${Math.round(limitMs)} ms`)
    this.#fail(new HopFailure(hop.link.peer, why))
    // It may have been restarted: who kept to this link would wait 20 s for it to end by itself.
    hop.link.destroy?.(why)
  }

  /** What it answered is as good as a pong. */
  #alive(hop: Hop): void {
    this.#pings.get(hop)?.fill(this.#ownNow())
  }

  #fail(error: Error): void {
    if (this.#settled) return
    this.#settled = true
    this.#done.reject(error)
  }

  #cancelRest(): void {
    const last = Math.max(-1, ...this.#pending.keys())
    if (last < 0) return
    this.#pending.clear()
    const { session, hops } = this.#options
    for (const hop of hops) if (!hop.link.closed) hop.link.cancel({ session, step: last })
  }

  #hopOf(link: ClientLink): Hop | undefined {
    return this.#options.hops.find((hop) => hop.link === link)
  }
}

function firstRows(tensor: WireTensor, rows: number): WireTensor {
  const rowBytes = tensor.data.byteLength / tensor.rows
  return { ...tensor, rows, data: tensor.data.subarray(0, rows * rowBytes) }
}
