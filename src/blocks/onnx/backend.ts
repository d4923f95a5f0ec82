// What all graphs of a worker share: the library, the device, its settings.
import type { OrtRuntime } from '../ort/runtime.ts'
import type { OrtSession, SessionSettings } from '../ort/session.ts'
import type { OrtAllocator, OrtTensor } from '../ort/value.ts'
import type { WeightStoreOptions } from '../weights/weight-store.ts'

export interface Backend {
  readonly runtime: OrtRuntime
  readonly settings: SessionSettings
  readonly storeOptions: WeightStoreOptions
  /** Most rows of one run; longer steps are cut. */
  readonly chunkRows: number
  /**
   * 0: float activations for integer weights too, exact and slow, for proofs. Default 4: int8
   * activations.
   */
  readonly integerAccuracy?: 0 | 4
  /** Values per scale where floats are rounded; for measuring. Default: see form.ts. */
  readonly roundedBlock?: number
  /** Where a graph's caches are. */
  cacheMemory(session: OrtSession): CacheMemory
}

/** The memory of caches and the operations on it. */
export interface CacheMemory extends Disposable {
  readonly allocator: OrtAllocator
  /**
   * Whether binding an input copies it. Inputs that change must then be bound again for each run.
   */
  readonly copiesInputs: boolean
  /**
   * Copies the first `tokens` rows of every head, (1, heads, capacity, width), into a larger
   * tensor.
   */
  copy(from: OrtTensor, to: OrtTensor, tokens: number): void
}
