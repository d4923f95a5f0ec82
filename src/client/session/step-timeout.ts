// How long a session waits for the answer to a step before it fails over: a multiple of what steps
// have taken so far. A server that answers pings may still never finish a step. Pure bookkeeping of
// one session; segment.ts records and asks.

/** A step of more rows is part of a prompt: it takes longer and may wait for others' prompts. */
const FEW_ROWS = 16
const TIMES = 20
const LEAST_MS = 5_000
/** How the slowest answer's time shrinks with each further answer. */
const KEPT = 0.9

export class StepTimeout {
  /** The limit while nothing is known, and the largest, ms. */
  readonly mostMs: number
  /** A step of few rows at one server, ms. */
  #fewMs: number | undefined
  /** One of many rows through one block, ms. */
  #rowMs: number | undefined
  #doublings = 0

  constructor(mostMs: number) {
    this.mostMs = mostMs
  }

  /** Limit for one server's answer to `rows` rows through `blocks` blocks. */
  limitMs(rows: number, blocks: number): number {
    const expectedMs = this.#expectedMs(rows, blocks)
    if (expectedMs === undefined) return this.mostMs
    return Math.min(this.mostMs, Math.max(LEAST_MS, TIMES * expectedMs) * 2 ** this.#doublings)
  }

  /** A server answered after `ms`. */
  note(rows: number, blocks: number, ms: number): void {
    this.#doublings = 0
    if (rows <= FEW_ROWS) this.#fewMs = Math.max(ms, KEPT * (this.#fewMs ?? 0))
    else this.#rowMs = Math.max(ms / (rows * blocks), KEPT * (this.#rowMs ?? 0))
  }

  /** The limit was exceeded. If all servers are slow, each further try gets twice as long. */
  ranOut(): void {
    this.#doublings++
  }

  #expectedMs(rows: number, blocks: number): number | undefined {
    if (rows <= FEW_ROWS) return this.#fewMs
    if (this.#rowMs !== undefined) return this.#rowMs * rows * blocks
    // Rows together are never slower than one by one.
    return this.#fewMs === undefined ? undefined : this.#fewMs * rows
  }
}
