// A limit in bytes a second, as a token bucket: what was not used in one second may be used in the
// next, and no more. Callers wait in order. Knows no links.
import { sleep, type Clock } from '../base/clock.ts'

export class UploadBudget {
  readonly #perSecond: number
  readonly #clock: Clock
  #tokens: number
  #filledAt: number

  /** `perSecond`: Infinity for no limit. */
  constructor(perSecond: number, clock: Clock) {
    this.#perSecond = perSecond
    this.#clock = clock
    this.#tokens = perSecond
    this.#filledAt = clock.now()
  }

  /** Resolves when `bytes` may be sent; they count from then on. @throws AppError CANCELLED */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    if (this.#perSecond === Infinity) return
    const now = this.#clock.now()
    const gained = ((now - this.#filledAt) / 1000) * this.#perSecond
    this.#tokens = Math.min(this.#perSecond, this.#tokens + gained) - bytes
    this.#filledAt = now
    // Taken in advance, so that the next caller waits for this one too.
    if (this.#tokens < 0) {
      const clock = this.#clock
      await sleep((-this.#tokens / this.#perSecond) * 1000, { clock, signal })
    }
  }
}
