// Which blocks a joining server takes: the range that raises the swarm's weakest blocks most. Pure
// functions over the directory's records.
import type { BlockSpan } from '../../base/block-span.ts'

export interface ServedSpan extends BlockSpan {
  /** Blocks times tokens a second. */
  readonly throughput: number
}

/**
 * Tokens a second at each block: the sum over all servers of their throughput divided by their
 * number of blocks. Shape (blockCount).
 */
export function coverage(spans: readonly ServedSpan[], blockCount: number): Float64Array {
  const rates = new Float64Array(blockCount)
  for (const span of spans) {
    const rate = span.throughput / Math.max(1, span.end - span.start)
    for (let block = Math.max(0, span.start); block < Math.min(span.end, blockCount); block++) {
      rates[block] = (rates[block] ?? 0) + rate
    }
  }
  return rates
}

/**
 * The range of `length` blocks that is weakest: with the lowest rate at its weakest block, then at
 * the next weakest, then with the lowest start. A gap is a rate of 0, so gaps are filled first.
 */
export function chooseSpan(
  spans: readonly ServedSpan[],
  blockCount: number,
  length: number
): BlockSpan {
  const size = Math.max(1, Math.min(length, blockCount))
  const start = weakestStart(coverage(spans, blockCount), size)
  return { start, end: start + size }
}

/**
 * Start of the window of `size` blocks whose sorted rates come first in lexicographic order. Goes
 * through the rates from the lowest up and keeps only the windows that contain most of each rate.
 * After a few blocks one window is left, so this costs about as much as a sort.
 */
export function weakestStart(rates: Float64Array, size: number): number {
  const order = Array.from(rates.keys()).sort((a, b) => (rates[a] ?? 0) - (rates[b] ?? 0) || a - b)
  let starts = Array.from({ length: rates.length - size + 1 }, (_, start) => start)
  for (let at = 0; at < order.length && starts.length > 1;) {
    const rate = rates[order[at] ?? 0]
    const equal: number[] = []
    for (; at < order.length && rates[order[at] ?? 0] === rate; at++) equal.push(order[at] ?? 0)
    let most = 0
    const counts = starts.map((start) => {
      const count = equal.filter((block) => block >= start && block < start + size).length
      most = Math.max(most, count)
      return count
    })
    if (most > 0) starts = starts.filter((_, index) => counts[index] === most)
  }
  return starts[0] ?? 0
}
