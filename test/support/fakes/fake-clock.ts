// Time that stands still until a test moves it: `await clock.advance(1000)`.
import type { Clock } from '../../../src/base/clock.ts'

interface Timer {
  due: number
  order: number
  callback: () => void
}

/** A Clock for tests. `wall()` starts at 2030-01-01, so that it is never mistaken for `now()`. */
export class FakeClock implements Clock {
  #now = 0
  #order = 0
  readonly #timers = new Set<Timer>()

  now(): number {
    return this.#now
  }

  wall(): number {
    return 1_893_456_000_000 + this.#now
  }

  after(ms: number, callback: () => void): () => void {
    const timer = { due: this.#now + Math.max(0, ms), order: this.#order++, callback }
    this.#timers.add(timer)
    return () => void this.#timers.delete(timer)
  }

  /** How many timers are waiting: 0 when everything has cleaned up. */
  get pending(): number {
    return this.#timers.size
  }

  /** Milliseconds until the next timer, or undefined. */
  get nextMs(): number | undefined {
    const next = this.#next(Infinity)
    return next && next.due - this.#now
  }

  /**
   * Moves time on by `ms`, firing timers in the order in which they are due, also those that fired
   * ones set. Promises settle before the first and after each, so what they wait for happens in
   * between.
   */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms
    await settle()
    for (let timer = this.#next(end); timer; timer = this.#next(end)) {
      this.#timers.delete(timer)
      this.#now = timer.due
      timer.callback()
      await settle()
    }
    this.#now = end
  }

  #next(end: number): Timer | undefined {
    let next: Timer | undefined
    for (const timer of this.#timers) {
      if (timer.due > end) continue
      const sooner = !next || timer.due < next.due
      if (sooner || (timer.due === next?.due && timer.order < next.order)) next = timer
    }
    return next
  }
}

/** Lets every promise that is ready settle. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
