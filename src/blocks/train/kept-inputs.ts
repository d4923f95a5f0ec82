// Inputs of blocks that ran forwards, for the way back: a step that finds its own here need not
// compute them anew. Bounded, and no step depends on it. Knows no steps beyond their keys.
import { toAppError } from '../../base/errors.ts'
import type { MemoryBudget, Reservation } from '../memory-budget.ts'

/** Of all steps together, bytes. */
const MOST_BYTES = 256 * 2 ** 20

interface Kept {
  readonly inputs: readonly Float32Array[]
  readonly reserved: Reservation
}

export class KeptInputs implements Disposable {
  readonly #budget: MemoryBudget
  /** The oldest first. */
  readonly #all = new Map<string, Kept>()
  #bytes = 0

  constructor(budget: MemoryBudget) {
    this.#budget = budget
  }

  /** Keeps inputs if there is room; the oldest give way. */
  keep(key: string, inputs: readonly Float32Array[]): void {
    const size = inputs.reduce((sum, { byteLength }) => sum + byteLength, 0)
    this.#drop(key)
    if (size > MOST_BYTES) return
    for (const oldest of this.#all.keys()) {
      if (this.#bytes + size <= MOST_BYTES) break
      this.#drop(oldest)
    }
    const reserved = this.#reserve(size)
    if (reserved === undefined) return
    this.#all.set(key, { inputs, reserved })
    this.#bytes += size
  }

  /** Gives inputs away, which are no longer kept. */
  take(key: string): readonly Float32Array[] | undefined {
    const found = this.#all.get(key)?.inputs
    this.#drop(key)
    return found
  }

  /** Sessions and weights go first: without memory nothing is kept. */
  #reserve(size: number): Reservation | undefined {
    try {
      return this.#budget.reserve(size, 'Inputs of a training step')
    } catch (error) {
      if (toAppError(error).code !== 'NO_MEMORY') throw error
      return undefined
    }
  }

  #drop(key: string): void {
    const old = this.#all.get(key)
    if (old === undefined) return
    this.#all.delete(key)
    this.#bytes -= old.reserved.sizeBytes
    old.reserved[Symbol.dispose]()
  }

  [Symbol.dispose](): void {
    for (const key of this.#all.keys()) this.#drop(key)
  }
}
