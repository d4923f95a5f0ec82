// What a run costs on this machine by the rows in it, learnt from the runs that were made: reading all
// weights once, and computing each row. Pure sums; knows no engine.

/** Reading the weights costs as much as this many rows, until runs have shown it: see bench-compute.ts. */
const TYPICAL_RATIO = 4
/** Beyond these a fit is noise. */
const LEAST_RATIO = 1
const MOST_RATIO = 64
/** What an older run still weighs at each new one: the last forty count. */
const DECAY = 0.975
/** Rows must have varied by this much before a line is laid through them. */
const LEAST_VARIANCE = 1

export interface RunCostEstimate {
  /** Of a run whatever its rows, ms. */
  readonly baseMs: number
  /** The same in rows. */
  readonly baseRows: number
}

export class RunCost {
  #weight = 0
  #rows = 0
  #ms = 0
  #rowsRows = 0
  #rowsMs = 0

  observe(rows: number, ms: number): void {
    this.#weight = this.#weight * DECAY + 1
    this.#rows = this.#rows * DECAY + rows
    this.#ms = this.#ms * DECAY + ms
    this.#rowsRows = this.#rowsRows * DECAY + rows * rows
    this.#rowsMs = this.#rowsMs * DECAY + rows * ms
  }

  get estimate(): RunCostEstimate {
    if (this.#weight === 0) return { baseMs: 0, baseRows: TYPICAL_RATIO }
    const rows = this.#rows / this.#weight
    const ms = this.#ms / this.#weight
    const variance = this.#rowsRows / this.#weight - rows * rows
    const ratio = variance < LEAST_VARIANCE ? TYPICAL_RATIO : this.#fitted(rows, ms, variance)
    return { baseMs: (ms * ratio) / (ratio + rows), baseRows: ratio }
  }

  #fitted(rows: number, ms: number, variance: number): number {
    const slope = (this.#rowsMs / this.#weight - rows * ms) / variance
    if (slope <= 0) return MOST_RATIO
    return Math.min(MOST_RATIO, Math.max(LEAST_RATIO, ms / slope - rows))
  }
}
