// Which blocks a joining server takes: the range that most raises the swarm's weakest blocks.
// Pure functions over the directory's records; know no connections.

export interface ServedSpan {
  readonly first: number
  readonly last: number
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
    const rate = span.throughput / Math.max(1, span.last - span.first)
    for (let block = Math.max(0, span.first); block < Math.min(span.last, blockCount); block++) {
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
): { first: number; last: number } {
  const size = Math.max(1, Math.min(length, blockCount))
  const rates = coverage(spans, blockCount)
  let best = 0
  let bestRates: number[] | undefined
  for (let first = 0; first + size <= blockCount; first++) {
    const window = [...rates.subarray(first, first + size)].sort((a, b) => a - b)
    if (bestRates && !weaker(window, bestRates)) continue
    best = first
    bestRates = window
  }
  return { first: best, last: best + size }
}

function weaker(a: readonly number[], b: readonly number[]): boolean {
  for (const [index, rate] of a.entries()) {
    const other = b[index] ?? 0
    if (rate !== other) return rate < other
  }
  return false
}
