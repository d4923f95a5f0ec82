// What all graphs of a worker run on: the library, the device, its settings.
import type { OrtRuntime } from './ort/runtime.ts'
import type { OrtSession, SessionSettings } from './ort/session.ts'
import type { OrtAllocator } from './ort/value.ts'
import type { WeightStoreOptions } from './weight-store.ts'

export interface Backend {
  readonly runtime: OrtRuntime
  readonly settings: SessionSettings
  readonly storeOptions: WeightStoreOptions
  /** Rows of a step that run at once; longer steps are cut. */
  readonly chunkRows: number
  /** Where a graph's caches live. */
  allocator(session: OrtSession): OrtAllocator
}
