// Which examples make which step, and which of them travel together. Pure; the same seed gives the
// same order.
import { seededRandom } from '../../base/random.ts'

/** Indices of all examples in the order of an epoch. */
export function epochOrder(count: number, seed: number, epoch: number): number[] {
  const random = seededRandom(BigInt(seed) * 1_000_003n + BigInt(epoch))
  const order = Array.from({ length: count }, (_, i) => i)
  for (let i = count - 1; i > 0; i--) {
    const j = random.below(i + 1)
    const [a = 0, b = 0] = [order[i], order[j]]
    order[i] = b
    order[j] = a
  }
  return order
}

/**
 * The examples of each step of a training, epoch after epoch; the last step of one may be short.
 */
export function* stepsOf(options: {
  readonly count: number
  readonly batch: number
  readonly epochs: number
  readonly seed: number
}): Generator<readonly number[]> {
  const { count, batch, epochs, seed } = options
  for (let epoch = 0; epoch < epochs; epoch++) {
    const order = epochOrder(count, seed, epoch)
    for (let at = 0; at < count; at += batch) yield order.slice(at, at + batch)
  }
}

export function stepCount({
  count,
  batch,
  epochs
}: {
  readonly count: number
  readonly batch: number
  readonly epochs: number
}): number {
  return epochs * Math.ceil(count / batch)
}

/** Neighbours travel together up to so many rows; one that has more travels alone. */
export function microBatches<T>(
  items: readonly T[],
  rowsOf: (item: T) => number,
  mostRows: number
): T[][] {
  const batches: T[][] = []
  let rows = Infinity
  for (const item of items) {
    const own = rowsOf(item)
    if (rows + own > mostRows) {
      batches.push([])
      rows = 0
    }
    batches.at(-1)?.push(item)
    rows += own
  }
  return batches
}
