// How long a server may leave a ping unanswered: by the round trips seen of it, and by how late our
// own timers come, since a machine without time for us has none for the servers on it either.
// Pure bookkeeping; leg.ts asks while a step is under way.

interface Beat {
  /** Smoothed round trip and its mean deviation, ms. */
  meanMs: number
  deviationMs: number
}

// As TCP smooths its round trips.
const ALPHA = 1 / 8
const BETA = 1 / 4
const DEVIATIONS = 4
/** What is left of the least limit when it is added to a mean round trip. */
const MARGIN = 0.5
/** On two cores under eight busy threads timers came 10 to 40 ms late, and pongs up to a second. */
const LATENESS = 20
const LATE_ALPHA = 0.2
const MOST_TIMES = 5

export class Pulse {
  /** No limit is longer, ms. */
  readonly mostMs: number
  readonly #leastMs: number
  readonly #beats = new Map<string, Beat>()
  #lateMs = 0

  /** @param leastMs of a quiet machine and a near server */
  constructor(leastMs: number) {
    this.#leastMs = leastMs
    this.mostMs = MOST_TIMES * leastMs
  }

  /** A ping of `peer` came back. */
  note(peer: string, ms: number): void {
    const beat = this.#beats.get(peer)
    if (!beat) {
      this.#beats.set(peer, { meanMs: ms, deviationMs: ms / 2 })
      return
    }
    beat.deviationMs += BETA * (Math.abs(ms - beat.meanMs) - beat.deviationMs)
    beat.meanMs += ALPHA * (ms - beat.meanMs)
  }

  /** A timer of ours came so late, ms. */
  late(ms: number): void {
    this.#lateMs += LATE_ALPHA * (Math.max(0, ms) - this.#lateMs)
  }

  /** A ping unanswered for longer means that the server is gone. */
  limitMs(peer: string): number {
    const beat = this.#beats.get(peer)
    const slowMs = beat
      ? beat.meanMs + DEVIATIONS * beat.deviationMs + MARGIN * this.#leastMs
      : this.#leastMs
    const limitMs = Math.max(this.#leastMs, slowMs) + LATENESS * this.#lateMs
    return Math.min(limitMs, this.mostMs)
  }
}
