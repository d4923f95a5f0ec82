// Round trips that a link measures: numbers sent out, pongs matched to them. Sends nothing itself.
import { deadline, type Clock } from '../base/clock.ts'
import { overLimit, type AppError } from '../base/errors.ts'

/** Pings that may be under way on one link; more are a mistake of ours. */
const MAX_PINGS = 64

export class Pings {
  readonly #clock: Clock
  readonly #waiting = new Map<number, PromiseWithResolvers<void>>()
  #nonce = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /**
   * Sends a number by `send` and waits for its pong; ms. @throws AppError TIMEOUT, LIMIT, or by
   * end()
   */
  async measure(send: (nonce: number) => void, timeoutMs: number): Promise<number> {
    if (this.#waiting.size >= MAX_PINGS) throw overLimit('The peer was pinged too often at once')
    const nonce = this.#nonce++
    const pong = Promise.withResolvers<void>()
    const began = this.#clock.now()
    this.#waiting.set(nonce, pong)
    try {
      send(nonce)
      await deadline(pong.promise, timeoutMs, { clock: this.#clock, what: 'The ping' })
    } finally {
      this.#waiting.delete(nonce)
    }
    return this.#clock.now() - began
  }

  pong(nonce: number): void {
    this.#waiting.get(nonce)?.resolve()
  }

  end(error: AppError): void {
    for (const pong of this.#waiting.values()) pong.reject(error)
  }
}
