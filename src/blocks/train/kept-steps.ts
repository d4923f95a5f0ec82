// Rows that blocks made forwards, for the way back: a step that finds its own here need not compute
// them anew. In memory that is lent, for a limited time; no step depends on it. Knows no programs.
import { ptr } from 'bun:ffi'
import { systemClock, type Clock } from '../../base/clock.ts'
import type { Address } from '../../kernels/program.ts'
import type { MemoryBudget, Reservation } from '../memory-budget.ts'

/** After this without a step everything is given back, ms. */
const IDLE_MS = 60_000
/** A step whose way back has not come after so many others will not come: it was an evaluation. */
const MOST_BETWEEN = 16
/** Of the budget. */
const MOST_SHARE = 1 / 2

/** Memory for one block's rows; dispose gives it back. */
export interface KeptMemory extends Disposable {
  /** At a multiple of 64. */
  readonly address: Address
}

/** What is kept of one block. */
export interface KeptBlock {
  /** (rows, hiddenSize) */
  readonly input: Float32Array
  /** Absent: only its input is known. */
  readonly memory: KeptMemory | undefined
}

interface Buffer {
  readonly bytes: Uint8Array
  readonly lent: Reservation
}

interface Step {
  readonly number: number
  readonly blocks: readonly KeptBlock[]
  /** Of the inputs. */
  readonly lent: Reservation
}

export class KeptSteps implements Disposable {
  readonly #budget: MemoryBudget
  readonly #clock: Clock
  readonly #borrowing: Disposable
  readonly #free: Buffer[] = []
  /** By key, the oldest first. */
  readonly #steps = new Map<string, Step>()
  #lentBytes = 0
  #number = 0
  #stopTimer = (): void => {}

  constructor(budget: MemoryBudget, clock: Clock = systemClock) {
    this.#budget = budget
    this.#clock = clock
    this.#borrowing = budget.onshort(() => this.#releaseAll())
  }

  /** Memory for rows of a block, if there is enough. */
  memory(sizeBytes: number): KeptMemory | undefined {
    const size = sizeBytes + 64
    const buffer = this.#fromFree(size) ?? this.#allocate(size)
    if (buffer === undefined) return undefined
    let isHeld = true
    return {
      address: Math.ceil(Number(ptr(buffer.bytes)) / 64) * 64,
      [Symbol.dispose]: () => {
        if (isHeld) this.#free.push(buffer)
        isHeld = false
      }
    }
  }

  /** Keeps a step's blocks until take(), for a limited time. */
  keep(key: string, blocks: readonly KeptBlock[]): void {
    this.#drop(key)
    const number = ++this.#number
    for (const [old, step] of this.#steps) {
      if (step.number < number - MOST_BETWEEN) this.#drop(old)
    }
    const lent = this.#lend(blocks.reduce((sum, { input }) => sum + input.byteLength, 0))
    if (lent === undefined) return giveBack(blocks)
    this.#steps.set(key, { number, blocks, lent })
    this.#stopTimer()
    this.#stopTimer = this.#clock.after(IDLE_MS, () => this.#releaseAll(), true)
  }

  /** Gives a step's blocks away; whoever takes them gives their memory back. */
  take(key: string): readonly KeptBlock[] | undefined {
    const found = this.#steps.get(key)
    if (found === undefined) return undefined
    this.#steps.delete(key)
    this.#giveBack(found.lent)
    return found.blocks
  }

  /** The smallest free memory that is not much too large. */
  #fromFree(size: number): Buffer | undefined {
    let best = -1
    for (const [index, { bytes }] of this.#free.entries()) {
      if (bytes.length < size || bytes.length > 2 * size) continue
      if (best < 0 || bytes.length < (this.#free[best]?.bytes.length ?? 0)) best = index
    }
    return best < 0 ? undefined : this.#free.splice(best, 1)[0]
  }

  #allocate(size: number): Buffer | undefined {
    let lent = this.#lend(size)
    if (lent === undefined && this.#free.length > 0) {
      this.#releaseFree()
      lent = this.#lend(size)
    }
    return lent && { bytes: new Uint8Array(size), lent }
  }

  #lend(size: number): Reservation | undefined {
    if (this.#lentBytes + size > this.#budget.limitBytes * MOST_SHARE) return undefined
    const lent = this.#budget.lend(size)
    if (lent !== undefined) this.#lentBytes += size
    return lent
  }

  #giveBack(lent: Reservation): void {
    this.#lentBytes -= lent.sizeBytes
    lent[Symbol.dispose]()
  }

  #drop(key: string): void {
    const blocks = this.take(key)
    if (blocks !== undefined) giveBack(blocks)
  }

  #releaseFree(): void {
    for (const { lent } of this.#free.splice(0)) this.#giveBack(lent)
  }

  #releaseAll(): void {
    for (const key of this.#steps.keys()) this.#drop(key)
    this.#releaseFree()
  }

  /** All steps have ended before. */
  [Symbol.dispose](): void {
    this.#stopTimer()
    this.#releaseAll()
    this.#borrowing[Symbol.dispose]()
  }
}

/** Gives back the memory of blocks that nobody will read. */
export function giveBack(blocks: readonly KeptBlock[]): void {
  for (const { memory } of blocks) memory?.[Symbol.dispose]()
}
