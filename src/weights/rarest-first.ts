// The order in which chunks are fetched from peers: the rarest first, so that a chunk is here
// before the only peer that has it leaves. Pure.
import type { Random } from '../base/random.ts'

/**
 * `wanted`, sorted by the number of peers that have each, rarest first, in random order where
 * equal; without those that nobody has.
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
