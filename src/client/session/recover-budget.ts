// How long a step that failed is tried again, as servers fail one after another. Pure arithmetic
// over the clock's readings; failover.ts asks after each failure.

export interface RecoverTimes {
  /** How long a failure may take to be mended, ms. Default 60,000. */
  recoverMs?: number | undefined
  /** How long a first route may take to be found, ms. Default 5,000. */
  findMs?: number | undefined
}

export interface StepFailure {
  /** Monotonic ms. */
  readonly now: number
  /** Whether no step of the session has been sent yet: there is nothing to lose. */
  readonly isFirst: boolean
  /** A server failed; else nobody serves some blocks. */
  readonly ofServer: boolean
  /** That server had not failed since the last step that succeeded. */
  readonly isNew: boolean
}

/**
 * However many servers fail one after another, a step is given up after so many times its limit.
 */
const MOST_RECOVERS = 5
/** For a first route, when servers are known but none of them answers. */
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

  /** Until when the step is tried, after one more failure. */
  note({ now, isFirst, ofServer, isNew }: StepFailure): number {
    const recoverMs = this.#recoverMs
    const firstMs = ofServer ? Math.max(FIRST_MS, this.#findMs) : this.#findMs
    this.#giveUpAt = Math.min(this.#giveUpAt, now + (isFirst ? firstMs : recoverMs))
    this.#latestAt = Math.min(this.#latestAt, now + MOST_RECOVERS * recoverMs)
    if (ofServer && isNew) {
      // One server may have taken all the time there was: the next ones get some of their own.
      const own = Math.max(this.#giveUpAt, now + recoverMs / MOST_RECOVERS)
      this.#giveUpAt = Math.min(this.#latestAt, own)
    }
    return this.#giveUpAt
  }
}
