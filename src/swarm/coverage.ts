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
  for (const { start, end } of [...spans].sort((a, b) => a.start - b.start)) {
    if (start >= to) break
    if (start > covered) gaps.push({ start: covered, end: start })
    covered = Math.max(covered, end)
  }
  if (covered < to) gaps.push({ start: covered, end: to })
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
