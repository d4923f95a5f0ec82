// Keys and values of one session: a tensor each per block, bound as both past and present of
// attention, so that a step copies nothing. Grows in steps. Knows names and bindings, no rows.
import type { BlockSpan } from '../../base/block-span.ts'
import { formatBytes } from '../../base/bytes.ts'
import type { ModelConfig } from '../../model/types.ts'
import type { CacheMemory } from './backend.ts'
import { cacheNames } from '../graph/attention.ts'
import type { MemoryBudget, Reservation } from '../memory-budget.ts'
import type { OrtRuntime } from '../ort/runtime.ts'
import type { OrtBinding } from '../ort/session.ts'
import { OrtTensor } from '../ort/value.ts'

/** Tokens of the first allocation, and of every further one once caches are large. */
export const FIRST_STEP = 256
const LARGEST_STEP = 4096

/** Tokens to allocate for `length`: doubles while small, so that copying costs little per token. */
export function capacityFor(length: number, current: number, longest: number): number {
  let capacity = Math.max(current, FIRST_STEP)
  while (capacity < length) capacity += Math.min(capacity, LARGEST_STEP)
  return Math.min(capacity, longest)
}

export interface KvCacheOptions {
  runtime: OrtRuntime
  memory: CacheMemory
  budget: MemoryBudget
  config: ModelConfig
  /** Blocks whose caches it holds. */
  range: BlockSpan
  /** Where the caches are bound, as past and present at once. */
  binding: OrtBinding
}

export class KvCache implements Disposable {
  readonly #options: KvCacheOptions
  /** Keys and values of each block, (1, kvHeads, capacity, headDim). */
  readonly #tensors: OrtTensor[] = []
  #reserved: Reservation | undefined
  #capacity = 0

  constructor(options: KvCacheOptions) {
    this.#options = options
  }

  /** Tokens that fit the allocated memory. */
  get capacity(): number {
    return this.#capacity
  }

  get sizeBytes(): number {
    return this.#reserved?.sizeBytes ?? 0
  }

  /**
   * Makes room for `length` tokens, keeps the first `kept`, and binds the new tensors.
   * @throws AppError NO_MEMORY; then nothing has changed
   */
  ensure(length: number, kept: number): void {
    if (length <= this.#capacity) return
    const { budget, config, range } = this.#options
    const { start, end } = range
    const capacity = capacityFor(length, this.#capacity, config.contextLength)
    const tensorBytes = config.kvHeadCount * capacity * config.headDim * 4
    const size = tensorBytes * 2 * (end - start)
    const what = `A session of ${length} tokens (${formatBytes(size)} of keys and values)`
    const hint = 'Close other sessions, shorten this one, or give the server more memory'
    // Old caches are freed one by one as they are copied, so only the difference is reserved.
    const more = budget.reserve(size - this.sizeBytes, what, hint)
    try {
      this.#grow(capacity, kept)
    } catch (error) {
      more[Symbol.dispose]()
      throw error
    }
    const old = this.#reserved
    this.#reserved = {
      sizeBytes: size,
      [Symbol.dispose]() {
        more[Symbol.dispose]()
        old?.[Symbol.dispose]()
      }
    }
    this.#capacity = capacity
  }

  /**
   * Copies the first `length` tokens of another cache over the same blocks.
   * @throws AppError NO_MEMORY
   */
  copy(from: KvCache, length: number): void {
    if (length === 0) return
    this.ensure(length, 0)
    for (const [at, tensor] of this.#tensors.entries()) {
      const source = from.#tensors[at]
      if (source !== undefined) this.#options.memory.copy(source, tensor, length)
    }
  }

  #grow(capacity: number, kept: number): void {
    const { runtime, memory, config, range } = this.#options
    const dims = [1, config.kvHeadCount, capacity, config.headDim]
    for (let at = 0; at < 2 * (range.end - range.start); at++) {
      const old = this.#tensors[at]
      const tensor = OrtTensor.allocate(runtime, memory.allocator, 'f32', dims)
      if (old !== undefined && kept > 0) memory.copy(old, tensor, kept)
      this.#bind(at, tensor)
      this.#tensors[at] = tensor
      old?.[Symbol.dispose]()
    }
  }

  /** In order: keys of the first block, its values, keys of the second block, and so on. */
  #bind(at: number, tensor: OrtTensor): void {
    const { binding, range } = this.#options
    const kind = at % 2 === 0 ? 'key' : 'value'
    const { past, present } = cacheNames(range.start + Math.floor(at / 2), kind)
    binding.input(past, tensor)
    binding.output(present, tensor)
  }

  [Symbol.dispose](): void {
    for (const tensor of this.#tensors.splice(0)) tensor[Symbol.dispose]()
    this.#reserved?.[Symbol.dispose]()
    this.#reserved = undefined
    this.#capacity = 0
  }
}
