// How many of a link's sent bytes still wait for the transport, whether they move, and who waits
// for them. It only counts; link.ts sends. No timer runs while nothing waits.
import type { Clock } from '../base/clock.ts'
import { overLimit, type AppError } from '../base/errors.ts'

export interface SendQueueOptions {
  clock: Clock
  /** Bytes above which the peer is given up. */
  maxBytes: number
  /** Time without progress after which the peer is given up, ms. */
  stallMs: number
  /** The number of bytes that the transport has taken, by its own count. */
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
      // Those who waited may be gone by the time it fails.
      this.#waiting.promise.catch(() => {})
    }
    return this.#waiting.promise
  }

  /** Nothing more will be sent. */
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
