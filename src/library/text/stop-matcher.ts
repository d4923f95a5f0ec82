// Ends an answer's text at the first of some stop texts, and holds back what may become one.
// Knows no tokens.

export interface Cut {
  /** Text that is certain now. */
  readonly text: string
  /** The stop text that was found: the answer ends before it. */
  readonly stop?: string | undefined
}

export class StopMatcher {
  readonly #stops: readonly string[]
  #held = ''

  constructor(stops: readonly string[]) {
    this.#stops = stops.filter((stop) => stop !== '')
  }

  push(text: string): Cut {
    this.#held += text
    const found = this.#first()
    if (found !== undefined) {
      const cut = { text: this.#held.slice(0, found.at), stop: found.stop }
      this.#held = ''
      return cut
    }
    const kept = this.#mayBecome()
    const certain = this.#held.slice(0, this.#held.length - kept)
    this.#held = this.#held.slice(this.#held.length - kept)
    return { text: certain }
  }

  /** The answer has ended: what was held back is text. */
  end(): string {
    const rest = this.#held
    this.#held = ''
    return rest
  }

  #first(): { at: number; stop: string } | undefined {
    let first: { at: number; stop: string } | undefined
    for (const stop of this.#stops) {
      const at = this.#held.indexOf(stop)
      if (at >= 0 && (first === undefined || at < first.at)) first = { at, stop }
    }
    return first
  }

  /** Length of the longest end of the text that begins a stop. */
  #mayBecome(): number {
    let most = 0
    for (const stop of this.#stops) {
      for (let length = Math.min(stop.length - 1, this.#held.length); length > most; length--) {
        if (this.#held.endsWith(stop.slice(0, length))) most = length
      }
    }
    return most
  }
}
