// How many log lines of one kind are written when peers decide how often something happens. Pure
// but for the clock.
import type { Clock } from './clock.ts'

const WINDOW_MS = 60_000
/** Kinds that are told apart; peers make new ones. */
const MOST_KEYS = 64

interface Kind {
  since: number
  written: number
  leftOut: number
}

export class LineBudget {
  readonly #clock: Pick<Clock, 'now'>
  readonly #kinds = new Map<string, Kind>()

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock
  }

  /**
   * Whether a line may be written now.
   * @param most lines of this kind in a minute
   * @returns undefined: no; else how many of this kind were left out before it
   */
  take(key: string, most: number): number | undefined {
    const now = this.#clock.now()
    const kind = this.#kindOf(key, now)
    if (now - kind.since >= WINDOW_MS) {
      kind.since = now
      kind.written = 0
    }
    if (kind.written >= most) {
      kind.leftOut++
      return undefined
    }
    kind.written++
    const { leftOut } = kind
    kind.leftOut = 0
    return leftOut
  }

  /** Beyond the limit all new kinds share one budget until old ones are forgotten. */
  #kindOf(key: string, now: number): Kind {
    const known = this.#kinds.get(key)
    if (known) return known
    if (this.#kinds.size >= MOST_KEYS) {
      for (const [other, { since }] of this.#kinds) {
        if (now - since >= WINDOW_MS) this.#kinds.delete(other)
      }
    }
    const name = this.#kinds.size < MOST_KEYS ? key : 'others'
    let kind = this.#kinds.get(name)
    if (!kind) this.#kinds.set(name, (kind = { since: now, written: 0, leftOut: 0 }))
    return kind
  }
}
