// Tells a waiting user that a failed step is being repeated, once that takes longer than a moment:
// why, and for how much longer. Knows no servers.
import type { Clock } from '../../base/clock.ts'
import type { AppError } from '../../base/errors.ts'

/** Usually another server takes over within this time, and the user need not know. */
const FIRST_MS = 1_500
const AGAIN_MS = 500

export type OnWait = (why: AppError | undefined, leftMs: number) => void

/** One for each step that may fail; disposed of when the step is done or given up. */
export class WaitTelling implements Disposable {
  readonly #clock: Clock
  readonly #onwait: OnWait | undefined
  #why: AppError | undefined
  #giveUpAt = 0
  #stop: (() => void) | undefined
  #told = false

  constructor(clock: Clock, onwait: OnWait | undefined) {
    this.#clock = clock
    this.#onwait = onwait
  }

  /** The step failed and is tried again until `giveUpAt` on the clock. */
  note(why: AppError, giveUpAt: number): void {
    // That nobody serves a block says more than that its last server has gone.
    if (this.#why?.code !== 'NO_ROUTE' || why.code === 'NO_ROUTE') this.#why = why
    this.#giveUpAt = giveUpAt
    if (this.#onwait) this.#stop ??= this.#clock.after(FIRST_MS, () => this.#tell())
  }

  [Symbol.dispose](): void {
    this.#stop?.()
    if (this.#told) this.#onwait?.(undefined, 0)
  }

  #tell(): void {
    this.#told = true
    this.#onwait?.(this.#why, Math.max(0, this.#giveUpAt - this.#clock.now()))
    this.#stop = this.#clock.after(AGAIN_MS, () => this.#tell())
  }
}
