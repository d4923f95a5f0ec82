// Whether a session should change to a planned route: only if the saving over its expected tokens
// pays for the replay, and not soon after the last move. Also which servers are worth measuring
// because a better route might use them. Pure; knows no connections. route-optimizer.ts carries it
// out, and the simulator calls the same functions.
import { planRoute, routeMs, type Candidate, type RouteHop } from './route.ts'

/**
 * A route with its expected step time as of now: both routes are estimated from the same
 * observations.
 */
export interface TimedRoute {
  readonly hops: readonly RouteHop[]
  /** Infinity for a route that no longer works. */
  readonly expectedMs: number
}

export interface ReplanOptions {
  /** One-time cost of the move, ms; see moveMs. Default 0. */
  moveMs?: number
  /** Tokens that the session is expected to generate still. Default 64. */
  tokensLeft?: number
  /** Least factor by which the planned route must be faster. Default 1.4. */
  factor?: number
  /** Least factor by which the saving must exceed the cost. Default 2. */
  payback?: number
  /** Least saving per step that justifies a move, ms: below it, noise decides. Default 2. */
  leastMs?: number
  /** Time since the session's last move, ms. Default: it never moved. */
  sinceMoveMs?: number
  /** Moves of the session so far: each doubles the pause and raises the factor. Default 0. */
  moves?: number
  /** Pause after the first move, ms. Default 5000. */
  restMs?: number
}

/** Most doublings of the pause: at 2^6 times 5 s a session may move every five minutes. */
const MOST_DOUBLINGS = 6
/** With each move, the next must promise a tenth more, up to twice as much. */
const RISE = 0.1
const MOST_RISE = 1

/** A session as far as its moves depend on it. */
export interface MovableSession {
  readonly hops: readonly RouteHop[]
  /** Tokens so far. */
  readonly historyTokens: number
  /** Tokens that it is expected to generate still. */
  readonly tokensLeft: number
  /** KV tokens that a new server must have room for. */
  readonly maxTokens: number
  readonly blockCount: number
}

/** The least that is assumed for an answer of unknown length. */
const LEAST_LEFT = 64

/**
 * The route to change to, or undefined to stay.
 * @throws AppError NO_ROUTE if the candidates leave a gap
 */
export function chooseRoute(
  session: MovableSession,
  candidates: readonly Candidate[],
  options: Omit<ReplanOptions, 'moveMs' | 'tokensLeft'> & {
    avoid?: ReadonlySet<string>
    prefillShare?: number
  } = {}
): readonly RouteHop[] | undefined {
  const { hops, historyTokens, maxTokens: tokens, blockCount } = session
  const { avoid, prefillShare, ...policy } = options
  const planned = planRoute(candidates, 0, blockCount, { tokens, ...(avoid ? { avoid } : {}) }).hops
  if (sameRoute(hops, planned)) return undefined
  const current = { hops, expectedMs: routeMs(hops, candidates) ?? Infinity }
  const better = { hops: planned, expectedMs: routeMs(planned, candidates, { tokens }) ?? Infinity }
  const move = betterRoute(current, better, {
    ...policy,
    moveMs: moveMs(hops, planned, candidates, {
      historyTokens,
      ...(prefillShare === undefined ? {} : { prefillShare })
    }),
    tokensLeft: Math.max(LEAST_LEFT, session.tokensLeft)
  })
  return move ? planned : undefined
}

/** Hoped-for round trip to an unmeasured server, ms; at least that to the nearest known server. */
const HOPED_MS = 20
const FACTOR = 1.4

/**
 * Unmeasured servers that would make a better route if they were near: worth one connection each.
 * @param known whether a server's round trip was measured
 */
export function worthMeasuring(
  session: Pick<MovableSession, 'hops' | 'maxTokens' | 'blockCount'>,
  candidates: readonly Candidate[],
  known: (peer: string) => boolean,
  options: { avoid?: ReadonlySet<string>; factor?: number } = {}
): readonly string[] {
  const { hops, maxTokens: tokens, blockCount } = session
  const { avoid, factor = FACTOR } = options
  // What this process computes itself says nothing of how near others are.
  const inUse = candidates.filter(
    ({ peer, rttMs }) => rttMs > 0 && known(peer) && hops.some((hop) => hop.peer === peer)
  )
  const hopedMs = Math.min(HOPED_MS, ...inUse.map(({ rttMs }) => rttMs))
  const hopeful = candidates.map((one) => (known(one.peer) ? one : { ...one, rttMs: hopedMs }))
  const hoped = planRoute(hopeful, 0, blockCount, { tokens, ...(avoid ? { avoid } : {}) })
  const currentMs = routeMs(hops, candidates) ?? Infinity
  if (currentMs < factor * hoped.expectedMs) return []
  return hoped.hops.flatMap(({ peer }) => (known(peer) ? [] : peer))
}

/** Whether to change from the current route to the planned one. */
export function betterRoute(
  current: TimedRoute,
  planned: TimedRoute,
  options: ReplanOptions = {}
): boolean {
  const { moveMs = 0, tokensLeft = 64, factor = FACTOR, payback = 2, leastMs = 2 } = options
  const { sinceMoveMs = Infinity, moves = 0, restMs = 5_000 } = options
  if (sameRoute(current.hops, planned.hops) || !Number.isFinite(planned.expectedMs)) return false
  if (!Number.isFinite(current.expectedMs)) return true
  if (moves > 0 && sinceMoveMs < restMs * 2 ** Math.min(moves - 1, MOST_DOUBLINGS)) return false
  const asked = factor + Math.min(MOST_RISE, RISE * moves)
  const savedMs = current.expectedMs - planned.expectedMs
  if (savedMs < leastMs || current.expectedMs < asked * planned.expectedMs) return false
  return savedMs * tokensLeft >= payback * moveMs
}

export function sameRoute(a: readonly RouteHop[], b: readonly RouteHop[]): boolean {
  return a.length === b.length && a.every((hop, index) => sameHop(hop, b[index]))
}

/** Hops of `planned` that are not in the current route: they are opened and replayed. */
export function newHops(
  current: readonly RouteHop[],
  planned: readonly RouteHop[]
): readonly RouteHop[] {
  return planned.filter((hop) => !current.some((own) => sameHop(own, hop)))
}

/** Cost of a move: opening all new hops at once, and running the history through each. */
export function moveMs(
  current: readonly RouteHop[],
  planned: readonly RouteHop[],
  candidates: readonly Candidate[],
  options: {
    /** Tokens of the session so far. */
    historyTokens: number
    /** Cost of a prompt token relative to a decoded one. Default 0.2. */
    prefillShare?: number
  }
): number {
  const { historyTokens, prefillShare = 0.2 } = options
  let openMs = 0
  let replayMs = 0
  for (const hop of newHops(current, planned)) {
    const one = candidates.find(({ peer }) => peer === hop.peer)
    if (!one) return Infinity
    openMs = Math.max(openMs, 2 * one.rttMs)
    const blocks = hop.end - hop.start
    replayMs += one.rttMs + one.queueMs + historyTokens * blocks * one.blockMs * prefillShare
  }
  return openMs + replayMs
}

export function sameHop(a: RouteHop, b: RouteHop | undefined): boolean {
  return a.peer === b?.peer && a.start === b.start && a.end === b.end
}
