// Where a session's caches are bound: in its own binding, or in a slot of a run of several.
// Knows names and bindings, not what lies in a cache.
import type { BlockSpan } from '../../base/block-span.ts'
import { cacheNames, type CacheNames } from '../graph/attention.ts'
import type { OrtBinding } from '../ort/session.ts'
import type { OrtTensor } from '../ort/value.ts'

/** Who sits in it is told before it loses the place, and when its place is gone. */
export interface Seat {
  /** Tensor `at` of the cache: its keys of the first block, its values, its keys of the second, ... */
  bind(at: number, tensor: OrtTensor): void
  /** Whoever sits here goes: none of its tensors may stay bound. */
  vacate(): void
}

/** Names of a seat's tensors in the order of `Seat.bind`. */
export function seatNames(range: BlockSpan, slot?: number): CacheNames[] {
  const names: CacheNames[] = []
  for (let block = range.start; block < range.end; block++) {
    names.push(cacheNames(block, 'key', slot), cacheNames(block, 'value', slot))
  }
  return names
}

/** Binds a cache's tensor as past and present at once, so that attention writes in place. */
export function bindInPlace(
  binding: OrtBinding,
  names: CacheNames | undefined,
  tensor: OrtTensor
): void {
  if (names === undefined) throw new RangeError('There is no such cache in this graph')
  binding.input(names.past, tensor)
  binding.output(names.present, tensor)
}
