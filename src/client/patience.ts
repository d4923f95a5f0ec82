// How long a session waits for the answer to a step of a few rows before it goes elsewhere: a multiple
// of what such steps took. A server that answers pings may still never finish a step.
// Pure bookkeeping; session.ts asks for each leg.

/** A step of more rows is part of a prompt, which may have to wait for others' prompts. */
const FEW_ROWS = 16
const TIMES = 20
const LEAST_MS = 5_000
/** Of the slowest step, what counts after the next one. */
const KEPT = 0.9

export class Patience {
  readonly #mostMs: number
  #slowMs: number | undefined
  #doublings = 0

  /** @param mostMs of a step that nothing is known about */
  constructor(mostMs: number) {
    this.#mostMs = mostMs
  }

  limitMs(rows: number): number {
    if (rows > FEW_ROWS || this.#slowMs === undefined) return this.#mostMs
    const limitMs = Math.max(LEAST_MS, TIMES * this.#slowMs) * 2 ** this.#doublings
    return Math.min(limitMs, this.#mostMs)
  }

  /** A step of so many rows was answered. */
  note(rows: number, ms: number): void {
    if (rows > FEW_ROWS) return
    this.#slowMs = Math.max(ms, KEPT * (this.#slowMs ?? 0))
    this.#doublings = 0
  }

  /** It ran out: when everybody is slow, each further try gets twice as long. */
  ranOut(): void {
    this.#doublings++
  }
}
