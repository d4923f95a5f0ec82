// What a run costs on this machine, learnt from the runs that were made: reading all weights once,
// computing each row of a short step, and each row of a long step's piece. Pure sums; knows no
// engine.

/**
 * Reading the weights costs as much as this many rows, until runs have shown it: see
 * bench-compute.ts.
 */
const TYPICAL_RATIO = 4
/** Beyond these a fit is noise. */
const LEAST_RATIO = 1
const MOST_RATIO = 64
/** What an older run still weighs at each new one: the last forty count. */
const DECAY = 0.975
/** Rows must have varied by this much before a line is laid through them. */
const LEAST_VARIANCE = 1
/** Weight of the newest piece in the average. */
const NEWEST_PIECE = 0.3

export interface RunCostEstimate {
  /** Of a run of short steps whatever its rows, ms; 0 before there was one. */
  readonly baseMs: number
  /** Of each of their rows, ms. */
  readonly rowMs: number
  /**
   * Of each row of a piece beside them, ms: it reads all that its session holds, however few its
   * rows.
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

  /** A run of short steps alone. */
  observe(rows: number, ms: number): void {
    this.#weight = this.#weight * DECAY + 1
    this.#rows = this.#rows * DECAY + rows
    this.#ms = this.#ms * DECAY + ms
    this.#rowsRows = this.#rowsRows * DECAY + rows * rows
    this.#rowsMs = this.#rowsMs * DECAY + rows * ms
  }

  /** A run of short steps with a piece of `pieceRows` beside them. */
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

  /** How many rows cost as much as the weights. */
  #fitted(rows: number, ms: number, variance: number): number {
    const slope = (this.#rowsMs / this.#weight - rows * ms) / variance
    if (slope <= 0) return MOST_RATIO
    return Math.min(MOST_RATIO, Math.max(LEAST_RATIO, ms / slope - rows))
  }
}
