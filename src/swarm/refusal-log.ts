// Tells a server's log which links it refuses and why. Peers decide how often that happens: a few
// lines a minute of each, and a count of the others.
import type { Clock } from '../base/clock.ts'
import { LineBudget } from '../base/line-budget.ts'
import type { Log } from '../base/log.ts'

const LINES = 2

export class RefusalLog {
  readonly #log: Log
  readonly #lines: LineBudget

  constructor(log: Log, clock: Pick<Clock, 'now'>) {
    this.#log = log
    this.#lines = new LineBudget(clock)
  }

  /** @param from the peer's key or address */
  refused(from: string, why: string): void {
    const left = this.#lines.take(from, LINES)
    if (left === undefined) return
    const more = left > 0 ? ` (and ${left} more since the last line like this)` : ''
    const fields = { event: 'refused', what: 'a link', peer: from }
    this.#log.info(`a link of ${from}: ${why}${more}`, fields)
  }
}
