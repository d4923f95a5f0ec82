// Petals' published rules of placement and routing, written anew from its paper and documentation
// of behaviour, for the simulators to compare with. Not part of the program.
import type { Random } from '../../src/base/random.ts'
import type { Candidate, RouteHop } from '../../src/client/route/route.ts'
import { weakestStart } from '../../src/server/placement/placement.ts'
import type { PlacedServer } from '../../src/server/placement/rebalance.ts'

/** Petals moves when the swarm is below this share of what it foresees. */
const BALANCE_QUALITY = 0.75
const EPSILON = 1e-3

/**
 * A server's rate in Petals: divided by the mean number of its blocks that a request uses, on each
 * block.
 */
function rateOf(span: PlacedServer): number {
  return span.throughput / ((span.end - span.start + 1) / 2)
}

function rates(spans: readonly PlacedServer[], blockCount: number): Float64Array {
  const sums = new Float64Array(blockCount)
  const byPeer = [...spans].sort((a, b) => (a.peer < b.peer ? -1 : 1))
  for (const span of byPeer) add(sums, span.start, span.end, rateOf(span))
  return sums
}

function add(sums: Float64Array, start: number, end: number, rate: number): void {
  for (let block = start; block < end; block++) sums[block] = (sums[block] ?? 0) + rate
}

/** Where a joining server begins. */
export function petalsStart(
  spans: readonly PlacedServer[],
  blockCount: number,
  length: number
): number {
  return weakestStart(rates(spans, blockCount), Math.min(length, blockCount))
}

/**
 * Where `peer` should begin, or undefined to stay: it would move, then everyone in random order
 * until nobody wants to, and the bottleneck then must exceed today's by 1/0.75.
 */
export function petalsShouldMove(
  peer: string,
  spans: readonly PlacedServer[],
  blockCount: number,
  random: Random
): number | undefined {
  const sums = rates(spans, blockCount)
  const before = Math.min(...sums)
  const placed = spans.map(({ start, end, peer: name, ...span }) => ({
    peer: name,
    first: start,
    size: end - start,
    rate: rateOf({ ...span, start, end, peer: name })
  }))
  const self = placed.find((one) => one.peer === peer)
  if (!self) return undefined
  add(sums, self.first, self.first + self.size, -self.rate * (1 + EPSILON))
  if (before > EPSILON && Math.min(...sums) <= 0) return undefined
  const target = weakestStart(sums, self.size)
  if (target === self.first) return undefined
  add(sums, self.first, self.first + self.size, self.rate * EPSILON)
  self.first = target
  add(sums, self.first, self.first + self.size, self.rate)
  // In practice it ends; a simulator needs the limit.
  for (let moved = true, round = 0; moved && round < 100; round++) {
    moved = false
    for (let at = placed.length - 1; at > 0; at--) {
      const other = random.below(at + 1)
      const [a, b] = [placed[at], placed[other]]
      if (a && b) [placed[at], placed[other]] = [b, a]
    }
    for (const one of placed) {
      add(sums, one.first, one.first + one.size, -one.rate * (1 + EPSILON))
      const start = weakestStart(sums, one.size)
      add(sums, one.first, one.first + one.size, one.rate * EPSILON)
      if (start !== one.first) moved = true
      one.first = start
      add(sums, one.first, one.first + one.size, one.rate)
    }
  }
  const after = Math.min(...sums)
  if (after < before || after < EPSILON) return undefined
  return before / after < BALANCE_QUALITY - EPSILON ? target : undefined
}

/**
 * Time that Petals adds to each hop, and what it takes for a distance it does not know, one way.
 */
const OVERHEAD_MS = 18
const UNKNOWN_MS = 150
const MOST_MS = 5_000

export interface PetalsCandidate extends Omit<Candidate, 'rttMs' | 'queueMs'> {
  /** Undefined when never measured. */
  readonly rttMs: number | undefined
}

interface Ride {
  readonly candidate: PetalsCandidate
  readonly since: number
  readonly ms: number
  readonly before: Ride | undefined
}

/**
 * The shortest path by distances and published speeds. A server once entered is used to its end;
 * what waits in its queue is not known.
 */
export function petalsRoute(
  candidates: readonly PetalsCandidate[],
  blockCount: number
): RouteHop[] {
  const ending: Map<string, Ride>[] = Array.from({ length: blockCount + 1 }, () => new Map())
  for (let block = 0; block < blockCount; block++) {
    const rides = [...(ending[block]?.values() ?? [])].sort((a, b) => a.ms - b.ms)
    if (block > 0 && rides.length === 0) continue
    for (const candidate of candidates) {
      if (candidate.start > block || candidate.end <= block) continue
      let ms = block === 0 ? delayMs(candidate.rttMs) : Infinity
      let before: Ride | undefined
      for (const ride of rides) {
        if (ride.ms >= ms) break
        const arrivalMs = ride.ms + delayMs(ride.candidate.pings?.get(candidate.peer))
        if (arrivalMs >= ms) continue
        ms = arrivalMs
        before = ride
      }
      const end = Math.min(candidate.end, blockCount)
      ms += OVERHEAD_MS + candidate.blockMs * (end - block)
      const known = ending[end]?.get(candidate.peer)
      if (!known || ms < known.ms) {
        ending[end]?.set(candidate.peer, { candidate, since: block, ms, before })
      }
    }
  }
  let best: Ride | undefined
  let bestMs = Infinity
  for (const ride of ending[blockCount]?.values() ?? []) {
    const ms = ride.ms + delayMs(ride.candidate.rttMs)
    if (ms >= bestMs) continue
    best = ride
    bestMs = ms
  }
  const hops: RouteHop[] = []
  let end = blockCount
  for (let ride = best; ride; ride = ride.before) {
    hops.push({ peer: ride.candidate.peer, start: ride.since, end })
    end = ride.since
  }
  return hops.reverse()
}

function delayMs(rttMs: number | undefined): number {
  return rttMs === undefined ? UNKNOWN_MS : Math.min(rttMs / 2, MOST_MS)
}
