// How long a ping may take before it says that the other end is gone: by the round trips seen so
// far, smoothed as TCP smooths them, and by how late this process's timers are, since a machine
// without time for us has none for the servers on it either. Pure bookkeeping; liveness.ts asks.
import type { Clock } from '../base/clock.ts'

/**
 * Weights of a new reading in the mean and in the mean deviation, and how many deviations count.
 */
const ALPHA = 1 / 8
const BETA = 1 / 4
const DEVIATIONS = 4
/** The part of the least limit that is added to a mean round trip. */
const MARGIN = 0.5
const MOST_TIMES = 5
/**
 * With two cores under eight busy threads timers were 10 to 40 ms late, and pongs up to a second.
 */
const LATENESS = 20
const LATE_ALPHA = 0.2

export class RttEstimator {
  readonly #leastMs: number
  #meanMs: number | undefined
  #deviationMs = 0

  /** @param leastMs the limit for a quiet machine and a near peer */
  constructor(leastMs: number) {
    this.#leastMs = leastMs
  }

  /** Mean round trip, ms; undefined before the first. */
  get meanMs(): number | undefined {
    return this.#meanMs
  }

  note(ms: number): void {
    if (this.#meanMs === undefined) {
      this.#meanMs = ms
      this.#deviationMs = ms / 2
      return
    }
    this.#deviationMs += BETA * (Math.abs(ms - this.#meanMs) - this.#deviationMs)
    this.#meanMs += ALPHA * (ms - this.#meanMs)
  }

  /** @param lateMs how late timers of this process are */
  limitMs(lateMs: number): number {
    const usualMs =
      this.#meanMs === undefined
        ? this.#leastMs
        : this.#meanMs + DEVIATIONS * this.#deviationMs + MARGIN * this.#leastMs
    const limitMs = Math.max(this.#leastMs, usualMs) + LATENESS * lateMs
    return Math.min(limitMs, MOST_TIMES * this.#leastMs)
  }
}

/** How late timers are on average. */
export class TimerLateness {
  #ms = 0

  get ms(): number {
    return this.#ms
  }

  note(lateMs: number): void {
    this.#ms += LATE_ALPHA * (Math.max(0, lateMs) - this.#ms)
  }
}

const latenesses = new WeakMap<Clock, TimerLateness>()

/** All links that run by one clock share what they learn of its timers. */
export function latenessOf(clock: Clock): TimerLateness {
  let lateness = latenesses.get(clock)
  if (!lateness) latenesses.set(clock, (lateness = new TimerLateness()))
  return lateness
}
