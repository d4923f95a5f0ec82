// How blocks that have lost their server get a new one: by filling only the gaps if possible, else
// by another split of the whole chain; servers that failed are used only if there is no other.
// Pure; route-keeper.ts carries it out.
import { toAppError } from '../../base/errors.ts'
import { sameHop } from './replan.ts'
import { planRoute, uncovered, type Candidate, type RouteHop } from './route.ts'

export interface GapOptions {
  blockCount: number
  /** KV tokens that are needed. */
  tokens: number
  /** Servers to avoid, those that may be used again soonest first. */
  failed: readonly string[]
  /**
   * Servers of this arithmetic are preferred; null: those that name none. Default: no preference.
   */
  arithmetic?: string | null | undefined
}

export interface GapPlan {
  /**
   * Current hops that are given up, because the new split needs their servers or does without them.
   */
  readonly leave: readonly RouteHop[]
  readonly enter: readonly RouteHop[]
}

/** @throws AppError NO_ROUTE naming the blocks that nobody serves */
export function planGaps(
  current: readonly RouteHop[],
  candidates: readonly Candidate[],
  options: GapOptions
): GapPlan {
  const { blockCount, tokens, failed, arithmetic } = options
  const gaps = uncovered(current, 0, blockCount)
  const used = new Set(current.map(({ peer }) => peer))
  const free = candidates.filter(({ peer }) => !used.has(peer))
  const isAlike = (one: Candidate): boolean =>
    arithmetic === undefined || (one.arithmetic ?? null) === arithmetic
  const fill = (avoid: ReadonlySet<string>, from = free): GapPlan => {
    const taken = new Set<string>(avoid)
    const enter: RouteHop[] = []
    for (const [start, end] of gaps) {
      const { hops } = planRoute(from, start, end, { avoid: taken, tokens })
      // A server has a session open only once, over one range.
      for (const hop of hops) taken.add(hop.peer)
      enter.push(...hops)
    }
    return { leave: [], enter }
  }
  const cutAnew = (avoid: ReadonlySet<string>, from = candidates): GapPlan => {
    const { hops } = planRoute(from, 0, blockCount, { avoid, tokens })
    const isIn = (hop: RouteHop, all: readonly RouteHop[]): boolean =>
      all.some((one) => sameHop(one, hop))
    return {
      leave: current.filter((hop) => !isIn(hop, hops)),
      enter: hops.filter((hop) => !isIn(hop, current))
    }
  }
  const all = new Set(failed)
  const tries = [
    () => fill(all, free.filter(isAlike)),
    () => cutAnew(all, candidates.filter(isAlike)),
    () => fill(all),
    () => cutAnew(all),
    () => fill(leastFailed(free, gaps, failed)),
    () => cutAnew(leastFailed(candidates, [[0, blockCount]], failed))
  ]
  let error: unknown
  for (const plan of tries) {
    try {
      return plan()
    } catch (thrown) {
      if (toAppError(thrown).code !== 'NO_ROUTE') throw thrown
      error = thrown
    }
  }
  throw error
}

/**
 * The fewest failed servers that are needed when the others leave a gap: first those that may be
 * used again soon, last those that answered wrongly.
 */
function leastFailed(
  candidates: readonly Candidate[],
  gaps: readonly (readonly [number, number])[],
  failed: readonly string[]
): ReadonlySet<string> {
  const avoid = new Set(failed)
  const isCovered = (): boolean => {
    const usable = candidates.filter((one) => !avoid.has(one.peer))
    return gaps.every(([from, to]) => uncovered(usable, from, to).length === 0)
  }
  const asked: string[] = []
  for (const peer of failed) {
    if (isCovered()) break
    avoid.delete(peer)
    asked.push(peer)
  }
  for (const peer of asked) {
    avoid.add(peer)
    if (!isCovered()) avoid.delete(peer)
  }
  return avoid
}
