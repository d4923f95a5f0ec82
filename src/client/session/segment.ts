// Sends rows through consecutive hops of the pipeline and gathers what comes back: the answer of
// the last hop and the mirrors of those before it. The links watch whether servers are alive; this
// watches whether they answer. Called by pipeline.ts; failover.ts decides what to do about a
// HopFailure.
import {
  type AppError,
  cancelled,
  disconnected,
  protocolError,
  timedOut
} from '../../base/errors.ts'
import type { Clock } from '../../base/clock.ts'
import { fromWire } from '../../wire/peer-error.ts'
import type { StepResult, WireError, WireTensor } from '../../wire/types.ts'
import { sliceRows } from '../../wire/tensor.ts'
import type { Hop } from '../route/hop.ts'
import type { ClientLink } from '../route/links.ts'
import { HopFailure } from './hop-failure.ts'
import { answerFault } from './check-answer.ts'
import type { StepTimeout } from './step-timeout.ts'

export interface SegmentOptions {
  session: Uint8Array
  /** Consecutive hops; the last one answers. */
  hops: readonly Hop[]
  /** The hop after them, if the answer is kept as its input. */
  next: Hop | undefined
  /** Rows [from, to) of the first hop's inputs. */
  from: number
  to: number
  /** How many of the answer's last rows are wanted. */
  answerRows: number
  /** Most rows of one step. */
  chunkRows: number
  /** Most steps under way. */
  window: number
  /** Returns the next step number. */
  nextStep: () => number
  /** Shared by the whole session. */
  timeout: StepTimeout
  clock: Clock
  signal: AbortSignal
  /** Called with each hop's answer. */
  onanswer?: (hop: Hop, result: StepResult) => void
}

/** A timer that fires later than this shows that this process was stalled, ms. */
const STALL_MS = 500

interface Pending {
  readonly start: number
  readonly count: number
  readonly answerRows: number
  /** Hops that have not answered yet. */
  readonly waiting: Set<Hop>
  /** When it was sent or last answered by one of them. */
  heardAt: number
}

export class Segment {
  readonly #options: SegmentOptions
  readonly #pending = new Map<number, Pending>()
  /**
   * By hop: position up to which it has answered. Skipped rows would leave a gap in the next hop's
   * inputs.
   */
  readonly #reached = new Map<Hop, number>()
  readonly #done = Promise.withResolvers<WireTensor>()
  #sent: number
  #answer: WireTensor | undefined
  #heardAt: number
  #stopTimer: () => void = () => {}
  #settled = false
  /**
   * The segment has its answer and waits for mirrors: rows from here on have been replaced since.
   */
  #validTo = Infinity

  constructor(options: SegmentOptions) {
    this.#options = options
    this.#sent = options.from
    this.#heardAt = options.clock.now()
  }

  /** Rows (answerRows, hidden) of the last hop. @throws HopFailure, or AppError CANCELLED */
  async run(): Promise<WireTensor> {
    const { signal, hops } = this.#options
    const gone = hops.find((hop) => hop.link.closed)
    if (gone) throw new HopFailure(gone.link.peer, disconnected('The server went away'))
    const onabort = (): void => this.#fail(cancelled('The step was cancelled'))
    if (signal.aborted) onabort()
    signal.addEventListener('abort', onabort, { once: true })
    const stops = hops.map((hop) => hop.link.awaited())
    try {
      this.#fill()
      this.#watch()
      return await this.#done.promise
    } catch (error) {
      this.#cancelRest()
      throw error
    } finally {
      this.#stopTimer()
      for (const stop of stops) stop()
      signal.removeEventListener('abort', onabort)
    }
  }

  /** Whether mirrors are still missing; only a replay will need them. */
  get trails(): boolean {
    return this.#pending.size > 0
  }

  /** Rows from `length` on are replaced by others. */
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
    try {
      this.#take(hop, pending, message)
      const ms = this.#heardAt - pending.heardAt
      this.#options.timeout.note(pending.count, hop.end - hop.start, ms)
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
    if (!this.#answer) {
      this.#watch()
      return
    }
    this.#settled = true
    // The final output has passed all of them.
    for (const one of this.#options.hops) one.kv = this.#options.to
    this.#done.resolve(this.#answer)
  }

  /** A mirror that arrives after the answer: kept if it still fits, and never a reason to fail. */
  #trail(hop: Hop, pending: Pending, message: StepResult): void {
    const { hops } = this.#options
    const next = hops[hops.indexOf(hop) + 1]
    pending.waiting.delete(hop)
    if (pending.waiting.size === 0) this.#pending.delete(message.step)
    const { start, count } = pending
    const rows = Math.min(count, this.#validTo - start)
    if (rows <= 0 || next?.inputs.length !== start) return
    if (this.#fault(hop, pending, message) === undefined) {
      next.inputs.write(start, sliceRows(message.tensor, 0, rows))
    }
  }

  error(link: ClientLink, message: WireError): void {
    const pending = this.#pending.get(message.step)
    const hop = this.#hopOf(link)
    if (!pending || !hop) return
    const error = fromWire(message)
    // A hop that has already answered this step reports on the one it pushed to.
    const at = this.#options.hops.indexOf(hop)
    const behind = pending.waiting.has(hop) ? undefined : this.#options.hops[at + 1]
    if (!behind || error.code === 'UNAVAILABLE') this.#fail(new HopFailure(link.peer, error))
    else this.#fail(new HopFailure(behind.link.peer, error, { teller: link.peer }))
  }

  disconnected(link: ClientLink, why: AppError): void {
    if (this.#hopOf(link)) this.#fail(new HopFailure(link.peer, why))
  }

  /** What is wrong with an answer. */
  #fault(hop: Hop, { start, count, answerRows }: Pending, message: StepResult): string | undefined {
    const rows = hop === this.#options.hops.at(-1) ? answerRows : count
    const { columns, dtype } = hop.inputs
    return answerFault(message, { start, count, end: hop.end, rows, columns, dtype })
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
    const { hops, to, window, chunkRows, next, session, nextStep, timeout, clock } = this.#options
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
        // It waits for those that were sent before it, and each server for the one before it.
        deadlineMs: timeout.mostMs * (this.#pending.size + hops.length - 1),
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

  /** Gives up the slowest hop if no answer has come for longer than answers take. */
  #watch(): void {
    const { clock } = this.#options
    this.#stopTimer()
    if (this.#settled) return
    const limitMs = this.#limitMs()
    const dueAt = this.#heardAt + limitMs
    this.#stopTimer = clock.after(dueAt - clock.now(), () => {
      const lateMs = clock.now() - dueAt
      if (lateMs < STALL_MS) this.#giveUp(limitMs)
      else {
        // This process was stalled: an answer may have arrived and not be read yet.
        this.#heardAt = clock.now()
        this.#watch()
      }
    })
  }

  #limitMs(): number {
    const { hops, timeout } = this.#options
    const [oldest] = this.#pending.values()
    const hop = hops.find((one) => oldest?.waiting.has(one))
    return oldest && hop ? timeout.limitMs(oldest.count, hop.end - hop.start) : timeout.mostMs
  }

  /** Blames the first hop that has not answered, or the one before it that should have pushed. */
  #giveUp(limitMs: number): void {
    const { hops, timeout } = this.#options
    timeout.ranOut()
    const [oldest] = this.#pending.values()
    const at = hops.findIndex((hop) => oldest?.waiting.has(hop))
    const [silent, before] = [hops[at], hops[at - 1]]
    const why = timedOut(`The server did not answer within ${Math.round(limitMs)} ms`)
    const details = before ? { teller: before.link.peer, hung: true } : { hung: true }
    if (silent) this.#fail(new HopFailure(silent.link.peer, why, details))
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
