// A limit in bytes for weights and caches together: memory is reserved before it is allocated, and
// given back when it is freed.
import { formatBytes } from '../base/bytes.ts'
import { noMemory } from '../base/errors.ts'

/** A reserved part of the budget; dispose gives it back. */
export interface Reservation extends Disposable {
  readonly sizeBytes: number
}

export class MemoryBudget {
  readonly limitBytes: number
  #usedBytes = 0

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  get freeBytes(): number {
    return Math.max(0, this.limitBytes - this.#usedBytes)
  }

  /**
   * Reserves `sizeBytes` for `what`, e.g. 'Weights of blocks 0 to 10'. @throws AppError NO_MEMORY
   */
  reserve(sizeBytes: number, what: string, hint?: string): Reservation {
    if (sizeBytes > this.limitBytes - this.#usedBytes) {
      throw noMemory(
        `${what} cannot be held: ${formatBytes(sizeBytes)} are needed, ` +
          `${formatBytes(this.freeBytes)} of ${formatBytes(this.limitBytes)} are free`,
        hint === undefined ? {} : { hint }
      )
    }
    this.#usedBytes += sizeBytes
    let held = sizeBytes
    return {
      sizeBytes,
      [Symbol.dispose]: () => {
        this.#usedBytes -= held
        held = 0
      }
    }
  }
}
