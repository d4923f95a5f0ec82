// Which blocks of a model another server would help most. Pure.
import { gapsOf } from '../coverage.ts'
import type { BlockState } from '../summary.ts'
import type { Need } from './snapshot.ts'

/** A block this close to the weakest one is as weak, since speeds are measured with some noise. */
const AS_WEAK = 1.2
const MOST_NEEDS = 8

/** A need before it is said how it is met. */
export type BareNeed = Omit<Need, 'command'>

/** The worst first: blocks that nobody serves, blocks of one server, the slowest blocks. */
export function needsOf(blocks: readonly BlockState[]): readonly BareNeed[] {
  const missing = ranges(blocks, ({ servers }) => servers === 0, 'missing')
  const alone = ranges(blocks, ({ servers }) => servers === 1, 'alone')
  const served = blocks.filter(({ servers }) => servers > 1)
  const slowest = Math.min(...served.map(({ tokensPerSecond }) => tokensPerSecond)) * AS_WEAK
  const fastest = Math.max(0, ...served.map(({ tokensPerSecond }) => tokensPerSecond))
  // Where all are alike, none is the slowest.
  const slow =
    fastest <= slowest
      ? []
      : ranges(blocks, (one) => one.servers > 1 && one.tokensPerSecond <= slowest, 'slowest')
  return [...missing, ...bySpeed(alone), ...bySpeed(slow)].slice(0, MOST_NEEDS)
}

function ranges(
  blocks: readonly BlockState[],
  isMeant: (block: BlockState) => boolean,
  why: Need['why']
): BareNeed[] {
  const others = blocks.flatMap((block, start) => {
    return isMeant(block) ? [] : [{ start, end: start + 1 }]
  })
  return gapsOf(others, blocks.length).map(({ start, end }) => {
    const within = blocks.slice(start, end)
    const servers = Math.min(...within.map((block) => block.servers))
    const tokensPerSecond = Math.min(...within.map((block) => block.tokensPerSecond))
    return { start, end, why, servers, tokensPerSecond }
  })
}

function bySpeed(needs: readonly BareNeed[]): readonly BareNeed[] {
  return needs.toSorted((a, b) => a.tokensPerSecond - b.tokensPerSecond)
}
