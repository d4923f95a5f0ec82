// Caches in main memory, from the library's own allocator, so that they are freed at once and not
// by the garbage collector.
import type { CacheMemory } from './backend.ts'
import type { OrtRuntime } from '../ort/runtime.ts'
import { OrtAllocator, type OrtTensor } from '../ort/value.ts'

export function cpuMemory(runtime: OrtRuntime): CacheMemory {
  return {
    allocator: OrtAllocator.cpu(runtime),
    copiesInputs: false,
    copy: copyRows,
    [Symbol.dispose]() {}
  }
}

/** Copies the first `tokens` rows of every head. */
function copyRows(from: OrtTensor, to: OrtTensor, tokens: number): void {
  const [, heads = 0, fromCapacity = 0, width = 0] = from.dims
  const [, , toCapacity = 0] = to.dims
  const rowBytes = width * 4
  const source = from.bytes()
  const target = to.bytes()
  for (let head = 0; head < heads; head++) {
    const at = head * fromCapacity * rowBytes
    target.set(source.subarray(at, at + tokens * rowBytes), head * toCapacity * rowBytes)
  }
}
