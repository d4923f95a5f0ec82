// In which order chunks are fetched from peers: those that the fewest have come first, so that what
// may vanish with one peer is had before it does. Pure.
import type { Random } from '../base/random.ts'

/**
 * `wanted` by the number of peers that have each, the rarest first; equals by chance; nobody's are
 * left out.
 */
export function rarestFirst(
  wanted: readonly number[],
  peers: readonly { has(index: number): boolean }[],
  random: Random
): number[] {
  return wanted
    .map((index) => {
      const holders = peers.filter((peer) => peer.has(index)).length
      return { index, holders, chance: random.next() }
    })
    .filter(({ holders }) => holders > 0)
    .sort((a, b) => a.holders - b.holders || a.chance - b.chance)
    .map(({ index }) => index)
}
