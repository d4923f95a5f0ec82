// Who may answer now: at most so many at once, the first come first. Servers may take fewer
// sessions than that; whoever they refused waits for one that others give back. Knows no sessions.
import { systemClock, type Clock } from '../../base/clock.ts'
import { cancelled, closed, type AppError } from '../../base/errors.ts'

interface Waiter {
  start(): void
  fail(error: AppError): void
}

/** After a refusal one more is tried each time so long, ms: servers and others' sessions change. */
const TRY_MORE_MS = 20_000

export class Turns {
  readonly #most: number
  readonly #clock: Clock
  readonly #waiting: Waiter[] = []
  #active = 0
  /** How many servers took when they last refused one, and when that was. */
  #refused: { most: number; at: number } | undefined

  /** @param most answers at once */
  constructor(most: number, clock: Clock = systemClock) {
    this.#most = most
    this.#clock = clock
  }

  get active(): number {
    return this.#active
  }

  get waiting(): number {
    return this.#waiting.length
  }

  /** How many may answer at once now. */
  get most(): number {
    if (this.#refused === undefined) return this.#most
    const { most, at } = this.#refused
    return Math.min(this.#most, most + Math.floor((this.#clock.now() - at) / TRY_MORE_MS))
  }

  /**
   * Waits for a turn; leave() ends it.
   * @param isAgain it had one before and was refused: it goes before those who had none
   * @throws AppError CANCELLED, CLOSED
   */
  async take(signal: AbortSignal | undefined, isAgain = false): Promise<void> {
    if (signal?.aborted) throw cancelled('The answer was cancelled')
    if (this.#active < this.most) {
      this.#active++
      return
    }
    const turn = Promise.withResolvers<void>()
    const waiter: Waiter = { start: turn.resolve, fail: turn.reject }
    if (isAgain) this.#waiting.unshift(waiter)
    else this.#waiting.push(waiter)
    const onabort = (): void => {
      const at = this.#waiting.indexOf(waiter)
      if (at < 0) return
      this.#waiting.splice(at, 1)
      turn.reject(cancelled('The answer was cancelled'))
    }
    signal?.addEventListener('abort', onabort, { once: true })
    try {
      await turn.promise
    } finally {
      signal?.removeEventListener('abort', onabort)
    }
  }

  /** A turn has ended: its place is the next one's. */
  leave(): void {
    this.#active--
    while (this.#waiting.length > 0 && this.#active < this.most) {
      this.#active++
      this.#waiting.shift()?.start()
    }
  }

  /** Servers took no session for one of those who answer. Whether others may give one back. */
  refuse(): boolean {
    if (this.#active < 2) return false
    this.#refused = { most: Math.min(this.most, this.#active) - 1, at: this.#clock.now() }
    return true
  }

  /** Nobody who waits gets a turn any more. */
  end(): void {
    for (const waiter of this.#waiting.splice(0)) waiter.fail(closed('The model is closed'))
  }
}
