// Which servers a session goes through: the chain of spans with the shortest expected step.
// Pure functions over records; knows no connections. session.ts acts on the plan.
import { noRoute } from '../base/errors.ts'

/** One server as routing sees it. */
export interface Candidate {
  /** Hex of the server's public key. */
  readonly peer: string
  /** Served blocks [first, last). */
  readonly first: number
  readonly last: number
  /** Expected engine time of one block for one token, ms. */
  readonly blockMs: number
  /** Expected wait before the engine starts, ms. */
  readonly queueMs: number
  /** Client's round trip to it, ms. */
  readonly rttMs: number
}

export interface RouteHop {
  readonly peer: string
  readonly first: number
  readonly last: number
}

export interface Route {
  readonly hops: readonly RouteHop[]
  /** Expected time of one decode step through all hops, ms. */
  readonly expectedMs: number
}

export interface RouteOptions {
  /** Peers that must not be used. */
  avoid?: ReadonlySet<string>
  /** One-way time between two peers, ms; 'client' is this end. Default: mean of the half trips. */
  oneWayMs?: (from: Candidate | 'client', to: Candidate | 'client') => number
}

interface Arrival {
  ms: number
  candidate: Candidate
  first: number
  before: Arrival | undefined
}

/**
 * The fastest chain over blocks [first, last).
 * @throws AppError NO_ROUTE naming the blocks that nobody serves
 */
export function planRoute(
  candidates: readonly Candidate[],
  first: number,
  last: number,
  options: RouteOptions = {}
): Route {
  const { avoid = new Set<string>(), oneWayMs = halfTrips } = options
  const usable = candidates.filter(
    (one) => !avoid.has(one.peer) && one.first < last && one.last > first
  )
  const gaps = uncovered(usable, first, last)
  if (gaps.length > 0) throw noServers(gaps, avoid.size)
  // arrivals[b] holds, per server that ends at block b, the cheapest way to have computed up to b.
  const arrivals = new Map<number, Arrival[]>()
  for (const at of boundaries(usable, first, last)) {
    const before: (Arrival | undefined)[] = at === first ? [undefined] : (arrivals.get(at) ?? [])
    for (const candidate of usable) {
      if (candidate.first > at || candidate.last <= at) continue
      const start = cheapest(before, candidate, oneWayMs)
      if (!start) continue
      for (const end of ends(candidate, usable, at, last)) {
        const ms = start.ms + candidate.queueMs + candidate.blockMs * (end - at)
        push(arrivals, end, { ms, candidate, first: at, before: start.from })
      }
    }
  }
  let best: Arrival | undefined
  let bestMs = Infinity
  for (const arrival of arrivals.get(last) ?? []) {
    const ms = arrival.ms + oneWayMs(arrival.candidate, 'client')
    if (ms >= bestMs) continue
    best = arrival
    bestMs = ms
  }
  if (!best) throw noServers([[first, last]], avoid.size)
  return { hops: unwind(best, last), expectedMs: bestMs }
}

/** Ranges of [first, last) that no span covers, in order. */
export function uncovered(
  spans: readonly { readonly first: number; readonly last: number }[],
  first: number,
  last: number
): [number, number][] {
  const gaps: [number, number][] = []
  let at = first
  for (const span of [...spans].sort((a, b) => a.first - b.first)) {
    if (span.first >= last) break
    if (span.first > at) gaps.push([at, span.first])
    at = Math.max(at, span.last)
  }
  if (at < last) gaps.push([at, last])
  return gaps
}

function noServers(gaps: readonly [number, number][], avoided: number): Error {
  const names = gaps.map(([from, to]) => `${from}:${to}`).join(', ')
  return noRoute(`No route through the model: nobody serves blocks ${names}`, {
    hint:
      avoided > 0
        ? `Servers that failed are left out (${avoided}); start another with --blocks ${names}`
        : `Start a server for them: petals join MODEL --blocks ${gaps[0]?.join(':') ?? ''}`
  })
}

function halfTrips(from: Candidate | 'client', to: Candidate | 'client'): number {
  const a = from === 'client' ? 0 : from.rttMs
  const b = to === 'client' ? 0 : to.rttMs
  return from === 'client' || to === 'client' ? (a + b) / 2 : (a + b) / 4
}

function boundaries(usable: readonly Candidate[], first: number, last: number): number[] {
  const all = new Set([first])
  for (const one of usable) {
    if (one.first > first && one.first < last) all.add(one.first)
    if (one.last > first && one.last < last) all.add(one.last)
  }
  return [...all].sort((a, b) => a - b)
}

function ends(
  candidate: Candidate,
  usable: readonly Candidate[],
  at: number,
  last: number
): number[] {
  const stop = Math.min(candidate.last, last)
  const all = new Set([stop])
  for (const one of usable) if (one.first > at && one.first < stop) all.add(one.first)
  return [...all]
}

function cheapest(
  before: readonly (Arrival | undefined)[],
  to: Candidate,
  oneWayMs: NonNullable<RouteOptions['oneWayMs']>
): { ms: number; from: Arrival | undefined } | undefined {
  let best: { ms: number; from: Arrival | undefined } | undefined
  for (const from of before) {
    // A session is open once on a server, over one range: no server stands twice in a route.
    if (visits(from, to.peer)) continue
    const ms = (from?.ms ?? 0) + oneWayMs(from?.candidate ?? 'client', to)
    if (!best || ms < best.ms) best = { ms, from }
  }
  return best
}

function visits(from: Arrival | undefined, peer: string): boolean {
  for (let at = from; at; at = at.before) if (at.candidate.peer === peer) return true
  return false
}

function push(arrivals: Map<number, Arrival[]>, at: number, arrival: Arrival): void {
  const list = arrivals.get(at)
  if (!list) {
    arrivals.set(at, [arrival])
    return
  }
  const twin = list.findIndex((one) => one.candidate === arrival.candidate)
  if (twin < 0) list.push(arrival)
  else if ((list[twin]?.ms ?? Infinity) > arrival.ms) list[twin] = arrival
}

function unwind(arrival: Arrival, last: number): RouteHop[] {
  const hops: RouteHop[] = []
  let end = last
  for (let at: Arrival | undefined = arrival; at; at = at.before) {
    hops.push({ peer: at.candidate.peer, first: at.first, last: end })
    end = at.first
  }
  return hops.reverse()
}
