// Which waiting step runs next, and who may open a session: pure policies of a server.
// Know no engine and no connections; server.ts acts on them.

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

export interface PickOptions {
  /** When each peer was last served, monotonic ms. */
  lastServed: ReadonlyMap<string, number>
  now: number
  /** Steps of at most this many tokens go first. Default 16. */
  shortTokens?: number
  /** A longer step that has waited this long is no longer overtaken, ms. Default 250. */
  patienceMs?: number
}

/**
 * Index of the step to run next: a short one before a long one (unless that has waited enough),
 * then the peer served longest ago, then the oldest. Steps of one session never overtake each other.
 */
export function pickNext(waiting: readonly Waiting[], options: PickOptions): number {
  const { lastServed, now, shortTokens = 16, patienceMs = 250 } = options
  const heads = new Set<string>()
  let best = -1
  let bestRank: readonly [number, number, number] = [Infinity, Infinity, Infinity]
  for (const [index, one] of waiting.entries()) {
    if (heads.has(one.session)) continue
    heads.add(one.session)
    const long = one.count > shortTokens && now - one.since < patienceMs
    const rank = [long ? 1 : 0, lastServed.get(one.peer) ?? -Infinity, one.since] as const
    if (!before(rank, bestRank)) continue
    best = index
    bestRank = rank
  }
  return best
}

function before(
  a: readonly [number, number, number],
  b: readonly [number, number, number]
): boolean {
  if (a[0] !== b[0]) return a[0] < b[0]
  if (a[1] !== b[1]) return a[1] < b[1]
  return a[2] < b[2]
}

export interface AdmissionState {
  /** Tokens that open sessions may still grow to, all together. */
  readonly promisedTokens: number
  readonly capacityTokens: number
  readonly sessionsOfPeer: number
  readonly sessions: number
  readonly draining: boolean
  /** Of the promised tokens, those of the peer that asks. Default 0. */
  readonly promisedToPeer?: number
}

export interface AdmissionLimits {
  readonly sessionsPerPeer: number
  readonly sessions: number
}

export type Admission =
  | { readonly kind: 'admit' }
  | {
      readonly kind: 'refuse'
      readonly code: 'NO_MEMORY' | 'BUSY' | 'LIMIT'
      readonly why: string
      readonly retryAfterMs: number
    }

/** Who holds more than this share of a server's tokens leaves the last of them to others. */
const PEER_SHARE = 1 / 2
const RESERVE_SHARE = 1 / 8
/** A server with fewer tokens serves whoever comes: its last ones would not do for another session. */
const SMALL_TOKENS = 4096

/** Tokens that a peer with much does not get, however many are free. */
function reserveTokens(capacityTokens: number): number {
  const most = Math.floor(capacityTokens * RESERVE_SHARE)
  return Math.max(0, Math.min(most, capacityTokens - SMALL_TOKENS))
}

/** Whether a session of `tokens` more tokens may be promised. */
export function admit(tokens: number, state: AdmissionState, limits: AdmissionLimits): Admission {
  if (state.draining) return refuse('BUSY', 'the server is leaving', 60_000)
  if (state.sessionsOfPeer >= limits.sessionsPerPeer) {
    return refuse('LIMIT', `this peer has ${state.sessionsOfPeer} open sessions`, 10_000)
  }
  if (state.sessions >= limits.sessions) {
    return refuse('BUSY', `${state.sessions} sessions are open`, 5_000)
  }
  const free = state.capacityTokens - state.promisedTokens
  if (tokens > free) {
    const why = `${tokens} tokens were asked for, ${Math.max(0, free)} of ${state.capacityTokens} are free`
    return refuse('NO_MEMORY', why, 5_000)
  }
  const ofPeer = (state.promisedToPeer ?? 0) + tokens
  const kept = reserveTokens(state.capacityTokens)
  if (ofPeer > state.capacityTokens * PEER_SHARE && tokens > free - kept) {
    const why = `this peer has ${ofPeer - tokens} of ${state.capacityTokens} tokens, the last ${kept} are for others`
    return refuse('NO_MEMORY', why, 10_000)
  }
  return { kind: 'admit' }
}

function refuse(
  code: 'NO_MEMORY' | 'BUSY' | 'LIMIT',
  why: string,
  retryAfterMs: number
): Admission {
  return { kind: 'refuse', code, why, retryAfterMs }
}
