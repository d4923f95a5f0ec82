// How blocks that have no server any more get one: the gaps alone if that can be done, else by
// another cut of the whole chain, and by servers that failed only when nobody else is left. Pure;
// route-keeper.ts acts on it.
import { toAppError } from '../../base/errors.ts'
import { sameHop } from './replan.ts'
import { planRoute, uncovered, type Candidate, type RouteHop } from './route.ts'

export interface GapOptions {
  blockCount: number
  /** KV tokens that are needed. */
  tokens: number
  /** Servers to go round, those that are asked again soonest first. */
  failed: readonly string[]
  /**
   * Servers of this arithmetic are preferred; null: those that name none. Default: all are alike.
   */
  arithmetic?: string | null | undefined
}

export interface GapPlan {
  /** Hops of now that are let go, because another cut needs their servers or does without them. */
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
      // A session is open once on a server, over one range.
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
 * Whom to go round yet when the others leave a gap: a server that is asked again soon may be back,
 * one that answered garbage comes last, and none is asked that is not needed.
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
