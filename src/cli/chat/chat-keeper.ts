// Saves a running conversation regularly, so that a client that is killed during an answer loses
// only a moment of it. Knows no file.
import { systemClock, type Clock } from '../../base/clock.ts'

/** Time between two saves while an answer grows, ms: what a killed client loses. */
const SAVE_MS = 250
/** Saving takes at most this share of the time, for long conversations on slow disks. */
const SAVE_SHARE = 0.05

/** Keeps the file up to date with a running conversation. */
export class ChatKeeper {
  readonly #save: () => Promise<void>
  readonly #clock: Clock
  #changed = false
  #writing: Promise<void> | undefined
  #stopTimer: (() => void) | undefined
  #nextAt = -Infinity

  /** @param save writes all of it */
  constructor(save: () => Promise<void>, clock: Clock = systemClock) {
    this.#save = save
    this.#clock = clock
  }

  /** There is something new, which is saved soon. A failure is reported by flush(). */
  note(): void {
    this.#changed = true
    if (this.#writing || this.#stopTimer) return
    const begin = (): void => {
      this.#stopTimer = undefined
      this.#writing = this.#write()
        // flush() saves again and reports it.
        .catch(() => {})
        .finally(() => {
          this.#writing = undefined
          if (this.#changed) this.note()
        })
    }
    const ms = this.#nextAt - this.#clock.now()
    if (ms <= 0) begin()
    else this.#stopTimer = this.#clock.after(ms, begin, true)
  }

  /** Resolves when the file is up to date. @throws AppError if it cannot be written */
  async flush(): Promise<void> {
    this.#changed = false
    this.#stopTimer?.()
    this.#stopTimer = undefined
    await this.#writing
    await this.#save()
  }

  async #write(): Promise<void> {
    this.#changed = false
    const began = this.#clock.now()
    await this.#save()
    const tookMs = this.#clock.now() - began
    this.#nextAt = began + Math.max(SAVE_MS, tookMs / SAVE_SHARE)
  }
}
