// Tells somebody who waits for an answer that a step is being mended, once that takes longer than a
// moment: why, and for how long it is tried yet. Knows no servers.
import type { Clock } from '../../base/clock.ts'
import type { AppError } from '../../base/errors.ts'

/** Mostly another server takes over within this, and nobody need hear of it. */
const FIRST_MS = 1_500
const AGAIN_MS = 500

export type OnWait = (why: AppError | undefined, leftMs: number) => void

/** One for each step that may need mending; disposed when it is done, or given up. */
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

  /** The step failed, and is tried again until `giveUpAt` on the clock. */
  note(why: AppError, giveUpAt: number): void {
    // That nobody serves a block says more than that the last who did went away.
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
