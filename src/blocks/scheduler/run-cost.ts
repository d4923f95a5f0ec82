// What a run costs on this machine, learnt from past runs: reading all weights once, each row of a
// short step, and each row of a piece of a long step. Pure arithmetic; knows no engine.

/** Cost of reading the weights, in rows, until runs have shown it: see bench-compute.ts. */
const TYPICAL_RATIO = 4
/** Bounds of the ratio; beyond them a fit is noise. */
const LEAST_RATIO = 1
const MOST_RATIO = 64
/** Factor by which an older run's weight shrinks with each new one: about the last forty count. */
const DECAY = 0.975
/** Variance that rows must have before a line is fitted. */
const LEAST_VARIANCE = 1
/** Weight of the newest piece in the moving average. */
const NEWEST_PIECE = 0.3

export interface RunCostEstimate {
  /** Fixed cost of a run of short steps, ms; 0 before the first one. */
  readonly baseMs: number
  /** Cost of each of their rows, ms. */
  readonly rowMs: number
  /**
   * Cost of each row of a piece beside them, ms. It includes reading the KV of its session, however
   * few rows it has.
   */
  readonly pieceRowMs: number
}

export class RunCost {
  #weight = 0
  #rows = 0
  #ms = 0
  #rowsRows = 0
  #rowsMs = 0
  #pieceRowMs: number | undefined

  /** A run of only short steps has ended. */
  observe(rows: number, ms: number): void {
    this.#weight = this.#weight * DECAY + 1
    this.#rows = this.#rows * DECAY + rows
    this.#ms = this.#ms * DECAY + ms
    this.#rowsRows = this.#rowsRows * DECAY + rows * rows
    this.#rowsMs = this.#rowsMs * DECAY + rows * ms
  }

  /** A run of short steps with a piece of `pieceRows` rows has ended. */
  observePiece(shortRows: number, pieceRows: number, ms: number): void {
    const { baseMs, rowMs } = this.estimate
    const each = Math.max(0, ms - baseMs - rowMs * shortRows) / pieceRows
    this.#pieceRowMs = each * NEWEST_PIECE + (this.#pieceRowMs ?? each) * (1 - NEWEST_PIECE)
  }

  get estimate(): RunCostEstimate {
    if (this.#weight === 0) return { baseMs: 0, rowMs: 0, pieceRowMs: 0 }
    const rows = this.#rows / this.#weight
    const ms = this.#ms / this.#weight
    const variance = this.#rowsRows / this.#weight - rows * rows
    const ratio = variance < LEAST_VARIANCE ? TYPICAL_RATIO : this.#fitted(rows, ms, variance)
    const rowMs = ms / (ratio + rows)
    return { baseMs: rowMs * ratio, rowMs, pieceRowMs: this.#pieceRowMs ?? rowMs }
  }

  /** How many rows cost as much as reading the weights. */
  #fitted(rows: number, ms: number, variance: number): number {
    const slope = (this.#rowsMs / this.#weight - rows * ms) / variance
    if (slope <= 0) return MOST_RATIO
    return Math.min(MOST_RATIO, Math.max(LEAST_RATIO, ms / slope - rows))
  }
}
