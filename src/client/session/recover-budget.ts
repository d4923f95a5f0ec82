// How long a failed step is tried again while servers fail one after another. Pure arithmetic over
// clock readings; failover.ts asks after each failure.

export interface RecoverTimes {
  /** Longest time to recover from a failure, ms. Default 60,000. */
  recoverMs?: number | undefined
  /** Longest time to find a first route, ms. Default 5,000. */
  findMs?: number | undefined
}

export interface StepFailure {
  /** Monotonic ms. */
  readonly now: number
  /** No step of the session has been sent yet: there is nothing to lose. */
  readonly isFirst: boolean
  /** A server failed; otherwise nobody serves some blocks. */
  readonly ofServer: boolean
  /** That server had not failed since the last successful step. */
  readonly isNew: boolean
}

/**
 * However many servers fail one after another, a step is given up after this many times its limit.
 */
const MOST_RECOVERS = 5
/** Time for a first route, ms, if servers are known but none of them answers. */
const FIRST_MS = 12_000

export class RecoverBudget {
  readonly #recoverMs: number
  readonly #findMs: number
  #giveUpAt = Infinity
  #latestAt = Infinity

  constructor({ recoverMs = 60_000, findMs = 5_000 }: RecoverTimes = {}) {
    this.#recoverMs = recoverMs
    this.#findMs = findMs
  }

  /** The time until which the step is tried, after another failure. */
  note({ now, isFirst, ofServer, isNew }: StepFailure): number {
    const recoverMs = this.#recoverMs
    const firstMs = ofServer ? Math.max(FIRST_MS, this.#findMs) : this.#findMs
    this.#giveUpAt = Math.min(this.#giveUpAt, now + (isFirst ? firstMs : recoverMs))
    this.#latestAt = Math.min(this.#latestAt, now + MOST_RECOVERS * recoverMs)
    if (ofServer && isNew) {
      // One server may have used up all the time: the next ones get some of their own.
      const own = Math.max(this.#giveUpAt, now + recoverMs / MOST_RECOVERS)
      this.#giveUpAt = Math.min(this.#latestAt, own)
    }
    return this.#giveUpAt
  }
}
