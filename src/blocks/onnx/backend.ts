// What all graphs of a worker run on: the library, the device, its settings.
import type { OrtRuntime } from '../ort/runtime.ts'
import type { OrtSession, SessionSettings } from '../ort/session.ts'
import type { OrtAllocator, OrtTensor } from '../ort/value.ts'
import type { WeightStoreOptions } from '../weights/weight-store.ts'

export interface Backend {
  readonly runtime: OrtRuntime
  readonly settings: SessionSettings
  readonly storeOptions: WeightStoreOptions
  /** Rows of a step that run at once; longer steps are cut. */
  readonly chunkRows: number
  /**
   * 0 makes integer weights meet float activations too: exact and slow, for proofs. Default: int8
   * ones.
   */
  readonly integerAccuracy?: 0 | 4
  /** Values that share a scale where floats are rounded, for measuring. Default: form.ts says. */
  readonly roundedBlock?: number
  /** Where a graph's caches live. */
  cacheMemory(session: OrtSession): CacheMemory
}

/** Memory of caches, and what can be done with it. */
export interface CacheMemory extends Disposable {
  readonly allocator: OrtAllocator
  /** Whether binding an input copies it, so that what changes must be bound for each run. */
  readonly copiesInputs: boolean
  /**
   * Copies the first `tokens` rows of every head, (1, heads, capacity, width), into a larger
   * tensor.
   */
  copy(from: OrtTensor, to: OrtTensor, tokens: number): void
}
