// Who may open a session, and which idle sessions are closed to make room: pure policies of a
// server. Know no engine and no connections; session-keeper.ts carries them out.

export interface AdmissionState {
  /** Tokens that all open sessions together are promised. */
  readonly promisedTokens: number
  readonly capacityTokens: number
  readonly sessionsOfPeer: number
  /** Sessions of all peers at the same address. Default 0. */
  readonly sessionsOfHost?: number
  readonly sessions: number
  readonly draining: boolean
  /** Tokens promised to the peer that asks and to others at its address. Default 0. */
  readonly promisedToPeer?: number
  /**
   * When this many tokens, a session, or one of this peer's sessions will be free, ms. Default:
   * estimates.
   */
  readonly freeIn?: {
    tokens(count: number): number
    session(): number
    ofPeer(): number
    ofHost(): number
  }
}

export interface AdmissionLimits {
  readonly sessionsPerPeer: number
  /** Most sessions of all peers at one address. Default: half of all. */
  readonly sessionsPerHost?: number
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

/** A peer that holds more than this share of a server's tokens cannot have the reserve. */
const PEER_SHARE = 1 / 2
const RESERVE_SHARE = 1 / 8
/** A server with fewer tokens has no reserve: it would be too small for a session. */
const SMALL_TOKENS = 4096

/** The reserve: tokens that a peer that has much already does not get. */
function reserveTokens(capacityTokens: number): number {
  const most = Math.floor(capacityTokens * RESERVE_SHARE)
  return Math.max(0, Math.min(most, capacityTokens - SMALL_TOKENS))
}

/** Whether a session may be promised `tokens` more tokens. */
export function admit(tokens: number, state: AdmissionState, limits: AdmissionLimits): Admission {
  if (state.draining) return refuse('BUSY', 'the server is leaving', 60_000)
  if (state.sessionsOfPeer >= limits.sessionsPerPeer) {
    return refuse(
      'LIMIT',
      `this peer has ${state.sessionsOfPeer} open sessions`,
      state.freeIn?.ofPeer() ?? 10_000
    )
  }
  const { sessionsPerHost = Math.ceil(limits.sessions / 2) } = limits
  if ((state.sessionsOfHost ?? 0) >= sessionsPerHost) {
    const why = `${state.sessionsOfHost} sessions are open from this address`
    return refuse('BUSY', why, state.freeIn?.ofHost() ?? 10_000)
  }
  if (state.sessions >= limits.sessions) {
    return refuse('BUSY', `${state.sessions} sessions are open`, state.freeIn?.session() ?? 5_000)
  }
  const free = state.capacityTokens - state.promisedTokens
  if (tokens > free) {
    const why = `${tokens} tokens were asked for, ${Math.max(0, free)} of ${state.capacityTokens} are free`
    return refuse('NO_MEMORY', why, state.freeIn?.tokens(tokens - free) ?? 5_000)
  }
  const ofPeer = (state.promisedToPeer ?? 0) + tokens
  const kept = reserveTokens(state.capacityTokens)
  if (ofPeer > state.capacityTokens * PEER_SHARE && tokens > free - kept) {
    const why = `this peer or its address has ${ofPeer - tokens} of ${state.capacityTokens} tokens, the last ${kept} are for others`
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

/** An open session as the policy sees it. */
export interface IdleSession {
  /** Address of its owner, or its key if that is unknown. */
  readonly origin: string
  readonly peer: string
  /** Time since its last step. */
  readonly idleMs: number
}

/** After this time without a step, a session may be closed when another peer waits for room, ms. */
export const GIVE_UP_MS = 60_000

/**
 * The session to close for one that would be refused: of the address with most sessions, there of
 * the peer with most, the one that is idle longest. Undefined if all are in use.
 */
export function leastUsed<S extends IdleSession>(sessions: readonly S[]): S | undefined {
  const idle = sessions.filter(({ idleMs }) => idleMs >= GIVE_UP_MS)
  const ofOrigin = counts(sessions, ({ origin }) => origin)
  const ofPeer = counts(sessions, ({ peer }) => peer)
  const rank = ({ origin, peer, idleMs }: S): readonly number[] => [
    ofOrigin.get(origin) ?? 0,
    ofPeer.get(peer) ?? 0,
    idleMs
  ]
  return idle.sort((a, b) => compare(rank(b), rank(a)))[0]
}

function counts<S>(all: readonly S[], of: (one: S) => string): Map<string, number> {
  const found = new Map<string, number>()
  for (const one of all) found.set(of(one), (found.get(of(one)) ?? 0) + 1)
  return found
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (const [i, value] of a.entries()) {
    const other = b[i] ?? 0
    if (value !== other) return value - other
  }
  return 0
}
