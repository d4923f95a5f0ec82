// Which blocks a joining server takes: the range that most raises the swarm's weakest blocks.
// Pure functions over the directory's records; know no connections.
import type { BlockSpan } from '../../base/block-span.ts'

export interface ServedSpan extends BlockSpan {
  /** Blocks times tokens a second. */
  readonly throughput: number
}

/**
 * Tokens a second that each block can be had at: the sum over servers of their throughput shared
 * evenly over their blocks.
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
 * The range of `length` blocks whose weakest block is weakest, ties by the next weakest and then by
 * the lowest start. A gap is a rate of 0, so gaps are filled first.
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
 * Where the window of `size` blocks begins whose rates, sorted, are the smallest in dictionary
 * order. From the weakest block up, only the windows that hold most of each rate stay in the
 * running; one is left after a few blocks, so that this costs about a sort.
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
