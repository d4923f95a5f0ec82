// Which servers a server measures round trips to: those that it would push steps to. Pure.
import type { BlockSpan } from '../../base/block-span.ts'
import type { Random } from '../../base/random.ts'

export interface Neighbour extends BlockSpan {
  readonly peer: string
  readonly draining: boolean
}

/** Sixteen would take nine tenths of a record. More than a few near ones improve no route. */
export const MOST_SUCCESSORS = 8
/** Places for servers that were never measured, so that a near one that is new is found. */
const NEWCOMERS = 3

/**
 * Servers that could continue where blocks [start, end) end: the nearest known ones and some at
 * random.
 * @param known measured round trips by peer, ms
 */
export function likelySuccessors(
  servers: readonly Neighbour[],
  end: number,
  known: ReadonlyMap<string, number>,
  random: Random
): string[] {
  const likely = servers
    .filter((one) => !one.draining && one.start <= end && one.end > end)
    .map((one) => one.peer)
  const near = likely
    .filter((peer) => known.has(peer))
    .sort((a, b) => (known.get(a) ?? 0) - (known.get(b) ?? 0))
  const strange = likely.filter((peer) => !known.has(peer))
  const kept = near.slice(0, MOST_SUCCESSORS - Math.min(NEWCOMERS, strange.length))
  while (kept.length < MOST_SUCCESSORS && strange.length > 0) {
    kept.push(...strange.splice(random.below(strange.length), 1))
  }
  return kept
}
