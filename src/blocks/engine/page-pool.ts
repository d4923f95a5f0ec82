// Pages of KV memory, shared by the sessions that hold the same positions. A page is reserved in
// the budget and allocated when it is taken, and freed when no session holds it. Knows no sessions.
import { giveMemory, takeMemory } from '../../base/native-memory.ts'
import type { MemoryBudget, Reservation } from '../memory-budget.ts'

export interface Page {
  readonly address: bigint
  readonly sizeBytes: number
  readonly reserved: Reservation
  /** Number of sessions that hold it. */
  holders: number
}

export class PagePool {
  readonly #budget: MemoryBudget
  #usedBytes = 0

  constructor(budget: MemoryBudget) {
    this.#budget = budget
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** @throws AppError NO_MEMORY */
  take(sizeBytes: number): Page {
    const reserved = this.#budget.reserve(
      sizeBytes,
      "A page of a session's keys and values",
      'Close other sessions, shorten this one, or give the server more memory'
    )
    try {
      const address = takeMemory(sizeBytes)
      this.#usedBytes += sizeBytes
      return { address, sizeBytes, reserved, holders: 1 }
    } catch (error) {
      reserved[Symbol.dispose]()
      throw error
    }
  }

  /** Counts one holder less; frees the page if none is left. */
  release(page: Page): void {
    page.holders--
    if (page.holders > 0) return
    giveMemory(page.address, page.sizeBytes)
    page.reserved[Symbol.dispose]()
    this.#usedBytes -= page.sizeBytes
  }
}
