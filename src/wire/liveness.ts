// Whether the other end of a link is alive. While somebody waits for it, it is pinged; a ping that
// stays unanswered for too long, with nothing else heard meanwhile, means that it is gone.
// link.ts owns one, sends its pings and ends the link when it is silent. Knows no messages.
import { deadline, type Clock } from '../base/clock.ts'
import { timedOut, type AppError } from '../base/errors.ts'
import { latenessOf, RttEstimator, type TimerLateness } from './rtt-estimator.ts'

export interface LivenessTimes {
  /** How often the other end is pinged while somebody waits for it, ms. Default 400. */
  everyMs?: number
  /**
   * A ping unanswered for longer means that it is gone, ms; more when pings take long. Default
   * 1200.
   */
  leastMs?: number
}

export interface LivenessOptions extends LivenessTimes {
  clock: Clock
  send: (nonce: number) => void
  /** Bytes that went out on the link so far. */
  sentBytes: () => number
  /** Bytes that came in on the link so far. */
  heardBytes: () => number
  /** Called once when the other end is silent for too long. */
  onsilent: (error: AppError) => void
}

/**
 * A ping arrives behind what was sent before it. The slowest uplink in use moves 2 Mbit a second.
 */
const SLOW_BYTES_PER_MS = 250
/** Fewer bytes than this tell nothing about how fast the uplink is. */
const LEAST_SAMPLE = 65_536
/** A transfer may take so many times longer than one that was measured. */
const SLOWER = 4

interface Ping {
  readonly nonce: number
  readonly sentAt: number
  /** As sentAt, without the time in which this process stood still. */
  readonly ownAt: number
  /** Bytes on the link before it. */
  readonly sentBytes: number
}

interface Proof {
  /** The first ping that proves what was sent before the wait began. */
  readonly from: number
  readonly done: PromiseWithResolvers<number>
}

export class Liveness {
  readonly #options: LivenessOptions
  readonly #clock: Clock
  readonly #rtt: RttEstimator
  readonly #lateness: TimerLateness
  readonly #everyMs: number
  #nonce = 0
  #waiters = 0
  /** Unanswered, in order. */
  #pings: Ping[] = []
  readonly #measuring = new Map<number, PromiseWithResolvers<void>>()
  #proofs: Proof[] = []
  #provenAt = -Infinity
  #provenBytes = 0
  #bytesPerMs = SLOW_BYTES_PER_MS
  /** Time in which this process did not run: it is not the other end's fault. */
  #stalledMs = 0
  /** The last sign of life that is no pong, in time without stalls. */
  #heardAt = -Infinity
  #heardBytes = 0
  #held = false
  #ended: AppError | undefined
  #stopTimer: () => void = () => {}

  constructor(options: LivenessOptions) {
    const { clock, everyMs = 400, leastMs = 1200 } = options
    this.#options = options
    this.#clock = clock
    this.#everyMs = everyMs
    this.#rtt = new RttEstimator(leastMs)
    this.#lateness = latenessOf(clock)
  }

  /** Mean round trip, ms; undefined before the first. */
  get rttMs(): number | undefined {
    return this.#rtt.meanMs
  }

  /** Somebody waits for the other end, until the returned function is called. */
  awaited(): () => void {
    if (this.#ended) return () => {}
    if (this.#waiters++ === 0) this.#watch()
    let waits = true
    return () => {
      if (!waits) return
      waits = false
      if (--this.#waiters === 0) this.#stopTimer()
    }
  }

  /**
   * Resolves when all that was sent so far has arrived, with the time until which that is known.
   * @throws AppError why the link ended first
   */
  async proven(): Promise<number> {
    if (this.#ended) throw this.#ended
    const stop = this.awaited()
    const proof: Proof = { from: this.#nonce, done: Promise.withResolvers() }
    this.#proofs.push(proof)
    try {
      return await proof.done.promise
    } finally {
      stop()
    }
  }

  /** One round trip, ms. @throws AppError TIMEOUT, or why the link ended */
  async measure(timeoutMs: number): Promise<number> {
    if (this.#ended) throw this.#ended
    const pong = Promise.withResolvers<void>()
    const { nonce, sentAt } = this.#ask((ping) => this.#measuring.set(ping.nonce, pong))
    try {
      await deadline(pong.promise, timeoutMs, { clock: this.#clock, what: 'The ping' })
    } finally {
      this.#measuring.delete(nonce)
    }
    return this.#clock.now() - sentAt
  }

  /** Pongs come in order: one proves all before it, also what was lost sight of. */
  pong(nonce: number): void {
    const at = this.#pings.findIndex((ping) => ping.nonce === nonce)
    const ping = this.#pings[at]
    if (ping) {
      this.#pings.splice(0, at + 1)
      const ms = this.#clock.now() - ping.sentAt
      this.#rtt.note(ms)
      this.#noteRate(ping.sentBytes - this.#provenBytes, ms)
      this.#provenBytes = ping.sentBytes
      this.#provenAt = ping.sentAt
    }
    this.#measuring.get(nonce)?.resolve()
    if (!ping) return
    const proven = this.#proofs.filter((proof) => proof.from <= nonce)
    this.#proofs = this.#proofs.filter((proof) => proof.from > nonce)
    for (const { done } of proven) done.resolve(this.#provenAt)
  }

  /** While this end does not read, the other's silence means nothing. */
  hold(held: boolean): void {
    this.#held = held
  }

  end(error: AppError): void {
    this.#ended = error
    this.#stopTimer()
    for (const pong of this.#measuring.values()) pong.reject(error)
    for (const { done } of this.#proofs.splice(0)) done.reject(error)
  }

  #watch(): void {
    const tickMs = this.#everyMs / 2
    // A ping of an earlier wait was watched by nobody since.
    this.#pings = this.#pings.filter(({ nonce }) => this.#measuring.has(nonce))
    this.#heardAt = this.#ownNow()
    this.#heardBytes = this.#options.heardBytes()
    let due = this.#clock.now() + tickMs
    let tick = 0
    const look = (): void => {
      const now = this.#clock.now()
      this.#lateness.note(now - due)
      this.#stalledMs += Math.max(0, now - due)
      this.#listen()
      if (++tick % 2 === 0) this.#ask()
      if (this.#isSilent()) return
      due = now + tickMs
      this.#stopTimer = this.#clock.after(tickMs, look)
    }
    this.#stopTimer = this.#clock.after(tickMs, look)
  }

  /** Stands still while this process does: a pong may have come and wait to be read. */
  #ownNow(): number {
    return this.#clock.now() - this.#stalledMs
  }

  #listen(): void {
    const bytes = this.#options.heardBytes()
    if (bytes === this.#heardBytes && !this.#held) return
    this.#heardBytes = bytes
    this.#heardAt = this.#ownNow()
  }

  #ask(before: (ping: Ping) => void = () => {}): Ping {
    const sentBytes = this.#options.sentBytes()
    const times = { sentAt: this.#clock.now(), ownAt: this.#ownNow() }
    const ping = { nonce: this.#nonce++, ...times, sentBytes }
    this.#pings.push(ping)
    before(ping)
    this.#options.send(ping.nonce)
    return ping
  }

  #isSilent(): boolean {
    const [oldest] = this.#pings
    if (!oldest) return false
    const silentMs = this.#ownNow() - Math.max(oldest.ownAt, this.#heardAt)
    const aheadMs = (oldest.sentBytes - this.#provenBytes) / this.#bytesPerMs
    if (silentMs <= this.#rtt.limitMs(this.#lateness.ms) + aheadMs) return false
    this.#options.onsilent(timedOut(`The peer is silent for ${Math.round(silentMs)} ms`))
    return true
  }

  #noteRate(bytes: number, ms: number): void {
    if (bytes < LEAST_SAMPLE || ms <= 0) return
    this.#bytesPerMs = Math.max(SLOW_BYTES_PER_MS, bytes / ms / SLOWER)
  }
}
