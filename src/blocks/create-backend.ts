// Makes what a worker's graphs run on from its options. Knows which device needs what.
import type { Backend } from './backend.ts'
import type { WorkerOptions } from './messages.ts'
import { OrtRuntime } from './ort/runtime.ts'
import { OrtAllocator } from './ort/value.ts'

/** Rows that run at once: 128 are as fast as more, need a quarter of the memory, and end sooner. */
const CHUNK_ROWS = 128

/** @throws AppError UNAVAILABLE, UNSUPPORTED */
export function createBackend(options: WorkerOptions): Backend {
  const { threads, libraryDir, scratchDir } = options
  const runtime = new OrtRuntime(libraryDir)
  const cpu = OrtAllocator.cpu(runtime)
  return {
    runtime,
    settings: { threads },
    storeOptions: scratchDir === undefined ? {} : { folder: scratchDir },
    chunkRows: CHUNK_ROWS,
    allocator: () => cpu
  }
}
