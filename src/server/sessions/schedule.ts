// Which waiting steps go to the engine: a pure policy of a server.
// Knows no engine and no connections; step-queue.ts acts on it.

/** A waiting step as the scheduler sees it. */
export interface Waiting {
  /** Hex key of the peer that owns the session. */
  readonly peer: string
  /** Hex of the session: its steps keep their order. */
  readonly session: string
  readonly count: number
  /** Monotonic ms at which it came. */
  readonly since: number
}

export interface BatchState {
  /** Steps that are in the engine. */
  readonly running: readonly Waiting[]
  /** When each peer was last served, monotonic ms. */
  readonly lastServed: ReadonlyMap<string, number>
  readonly now: number
}

export interface BatchLimits {
  /** Steps in the engine: those of a run, and those that it goes on with at once. Default 32. */
  readonly steps?: number
  /** Of these, long ones: each run has a piece of one, and a session in the engine is in no queue. Default 2. */
  readonly longSteps?: number
  /** Steps of at most this many tokens are short. Default 16. */
  readonly shortTokens?: number
  /** A long step that has waited this long is no longer overtaken by short ones, ms. Default 250. */
  readonly patienceMs?: number
}

/** Sorts before another when the first number that differs is smaller. */
type Rank = readonly [late: number, inEngine: number, lastServed: number, since: number]

/**
 * Indices of the steps that go to the engine now, in that order: short before long (unless that has waited
 * enough), then of the peer that has fewest there, then of that served longest ago, then the oldest. Of a
 * session one step at a time, in their order.
 */
export function pickBatch(
  waiting: readonly Waiting[],
  state: BatchState,
  limits: BatchLimits = {}
): number[] {
  const { steps = 32, longSteps = 2, shortTokens = 16, patienceMs = 250 } = limits
  const isLong = ({ count }: Waiting): boolean => count > shortTokens
  const inEngine = [...state.running]
  const ofPeer = new Map<string, number>()
  const count = ({ peer }: Waiting): void => void ofPeer.set(peer, (ofPeer.get(peer) ?? 0) + 1)
  for (const one of inEngine) count(one)
  const picked: number[] = []
  const rankOf = (one: Waiting): Rank => [
    isLong(one) && state.now - one.since < patienceMs ? 1 : 0,
    ofPeer.get(one.peer) ?? 0,
    state.lastServed.get(one.peer) ?? -Infinity,
    one.since
  ]
  while (inEngine.length < steps) {
    const seen = new Set(inEngine.map(({ session }) => session))
    const longFits = inEngine.filter(isLong).length < longSteps
    let best: { index: number; one: Waiting; rank: Rank } | undefined
    for (const [index, one] of waiting.entries()) {
      if (seen.has(one.session)) continue
      seen.add(one.session)
      if (isLong(one) && !longFits) continue
      const rank = rankOf(one)
      if (best === undefined || before(rank, best.rank)) best = { index, one, rank }
    }
    if (best === undefined) break
    picked.push(best.index)
    inEngine.push(best.one)
    count(best.one)
  }
  return picked
}

function before(a: Rank, b: Rank): boolean {
  for (const [i, value] of a.entries()) {
    const other = b[i] ?? 0
    if (value !== other) return value < other
  }
  return false
}
