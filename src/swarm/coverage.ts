// Which blocks spans cover and which they leave open. Pure; knows no network.
import type { Cell } from './topics.ts'

/** Blocks in [from, to) that no span serves, in order. */
export function gapsOf(
  spans: readonly Cell[],
  blockCount: number,
  from = 0,
  to: number = blockCount
): readonly Cell[] {
  const gaps: Cell[] = []
  let covered = from
  for (const { first, last } of [...spans].sort((a, b) => a.first - b.first)) {
    if (first >= to) break
    if (first > covered) gaps.push({ first: covered, last: first })
    covered = Math.max(covered, last)
  }
  if (covered < to) gaps.push({ first: covered, last: to })
  return gaps
}

/** Whether every block in [from, to) is served. */
export function covered(
  spans: readonly Cell[],
  blockCount: number,
  from = 0,
  to: number = blockCount
): boolean {
  return gapsOf(spans, blockCount, from, to).length === 0
}
