// Back-pressure on reading: a link stops reading while too many bytes are unanswered. It only
// counts; link.ts stops and starts its stream.

export class ReadGate {
  readonly #limit: number
  readonly #hold: (paused: boolean) => void
  #bytes = 0
  #paused = false

  /** Calls `hold` with true above `limit` bytes and with false at half of it. */
  constructor(limit: number, hold: (paused: boolean) => void) {
    this.#limit = limit
    this.#hold = hold
  }

  /** Adds bytes; the returned function subtracts them. */
  enter(bytes: number): () => void {
    this.#bytes += bytes
    this.#update()
    return () => {
      this.#bytes -= bytes
      this.#update()
    }
  }

  #update(): void {
    const paused = this.#bytes > (this.#paused ? this.#limit / 2 : this.#limit)
    if (paused === this.#paused) return
    this.#paused = paused
    this.#hold(paused)
  }
}
