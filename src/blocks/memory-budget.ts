// A limit in bytes for weights and caches together: memory is reserved before it is allocated, and
// given back when it is freed. What is free can be lent meanwhile, and is called back when it is
// needed.
import { formatBytes } from '../base/bytes.ts'
import { noMemory } from '../base/errors.ts'

/** A reserved part of the budget; dispose gives it back. */
export interface Reservation extends Disposable {
  readonly sizeBytes: number
}

export class MemoryBudget {
  readonly limitBytes: number
  #usedBytes = 0
  #lentBytes = 0
  readonly #borrowers = new Set<() => void>()

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** What is lent is free, too. */
  get freeBytes(): number {
    return Math.max(0, this.limitBytes - this.#usedBytes)
  }

  /**
   * Memory for as long as nobody reserves it, or undefined. Whoever takes it has told onshort() how
   * it is called back.
   */
  lend(sizeBytes: number): Reservation | undefined {
    if (sizeBytes > this.limitBytes - this.#usedBytes - this.#lentBytes) return undefined
    this.#lentBytes += sizeBytes
    let held = sizeBytes
    return {
      sizeBytes,
      [Symbol.dispose]: () => {
        this.#lentBytes -= held
        held = 0
      }
    }
  }

  /**
   * `release` is called when memory is short: it disposes what was lent to it and is not in use.
   */
  onshort(release: () => void): Disposable {
    this.#borrowers.add(release)
    return { [Symbol.dispose]: () => this.#borrowers.delete(release) }
  }

  /**
   * Reserves `sizeBytes` for `what`, e.g. 'Weights of blocks 0 to 10'. @throws AppError NO_MEMORY
   */
  reserve(sizeBytes: number, what: string, hint?: string): Reservation {
    const isShort = (): boolean => sizeBytes > this.limitBytes - this.#usedBytes - this.#lentBytes
    if (isShort()) for (const release of this.#borrowers) release()
    if (isShort()) {
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
