// Adapters that callers sent, kept for a while in bounded memory: the least recently used are
// dropped first. Nothing is written to disk. Knows no links.
import type { BlockSpan } from '../../base/block-span.ts'
import { toHex } from '../../base/bytes.ts'
import { noMemory, notFound } from '../../base/errors.ts'
import type { StepAdapter } from '../../blocks/train/train-types.ts'

export class AdapterStore {
  readonly #limitBytes: number
  #usedBytes = 0
  /** By id and blocks, the most recently used last. */
  readonly #adapters = new Map<string, StepAdapter>()

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** @throws AppError NO_MEMORY if it exceeds all the memory */
  put(id: Uint8Array, range: BlockSpan, adapter: StepAdapter): void {
    const size = adapter.values.byteLength
    if (size > this.#limitBytes) throw noMemory('An adapter cannot be held: it is too large')
    const key = keyOf(id, range)
    this.#drop(key)
    for (const oldest of this.#adapters.keys()) {
      if (this.#usedBytes + size <= this.#limitBytes) break
      this.#drop(oldest)
    }
    this.#adapters.set(key, adapter)
    this.#usedBytes += size
  }

  /** @throws AppError NOT_FOUND, which asks the caller to send it */
  take(id: Uint8Array, range: BlockSpan): StepAdapter {
    const key = keyOf(id, range)
    const found = this.#adapters.get(key)
    if (found === undefined) {
      throw notFound('The adapter is not here for these blocks', { retryable: true })
    }
    this.#adapters.delete(key)
    this.#adapters.set(key, found)
    return found
  }

  #drop(key: string): void {
    const old = this.#adapters.get(key)
    if (old === undefined) return
    this.#adapters.delete(key)
    this.#usedBytes -= old.values.byteLength
  }
}

function keyOf(id: Uint8Array, { start, end }: BlockSpan): string {
  return `${toHex(id)} ${start}:${end}`
}
