// How much of what a link sent still waits for the transport, whether it moves, and who waits for
// it. Counts only; link.ts sends. No timer runs while nothing waits.
import type { Clock } from '../base/clock.ts'
import { overLimit, type AppError } from '../base/errors.ts'

export interface SendQueueOptions {
  clock: Clock
  /** Bytes above which the peer is given up. */
  maxBytes: number
  /** Time without progress after which the peer is given up, ms. */
  stallMs: number
  /** The transport's own count of bytes it took. */
  written: () => number
  onfull: (error: AppError) => void
}

export class SendQueue {
  readonly #options: SendQueueOptions
  /** Bytes handed over since #base was the transport's count. */
  #handed = 0
  #base = 0
  #waiting: PromiseWithResolvers<void> | undefined
  #stopWatching: (() => void) | undefined

  constructor(options: SendQueueOptions) {
    this.#options = options
  }

  get bytes(): number {
    return Math.max(0, this.#handed - (this.#options.written() - this.#base))
  }

  /** The transport took a frame and has room for more. */
  clear(): void {
    this.#handed = 0
    this.#base = this.#options.written()
    this.#stopWatching?.()
    this.#stopWatching = undefined
    this.#waiting?.resolve()
    this.#waiting = undefined
  }

  /** The transport holds a frame back. */
  add(bytes: number): void {
    this.#handed += bytes
    const waiting = this.bytes
    if (waiting > this.#options.maxBytes) {
      this.#options.onfull(overLimit(`The peer reads too slowly: ${waiting} bytes wait for it`))
    } else if (!this.#stopWatching) this.#watch()
  }

  /** Resolves when the transport has room again. */
  drained(): Promise<void> {
    if (this.#handed === 0) return Promise.resolve()
    if (!this.#waiting) {
      this.#waiting = Promise.withResolvers<void>()
      // Those who asked may have left by the time it fails.
      this.#waiting.promise.catch(() => {})
    }
    return this.#waiting.promise
  }

  /** Nothing will be sent any more. */
  end(error: AppError): void {
    this.#stopWatching?.()
    this.#stopWatching = undefined
    this.#waiting?.reject(error)
    this.#waiting = undefined
  }

  #watch(): void {
    const { clock, stallMs, written, onfull } = this.#options
    const before = written()
    const check = (): void => {
      if (written() > before) this.#watch()
      else onfull(overLimit(`The peer reads nothing: ${stallMs} ms have passed`))
    }
    this.#stopWatching = clock.after(stallMs, check, true)
  }
}
