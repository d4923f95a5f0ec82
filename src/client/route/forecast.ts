// What a decode step through a route will take and how much of that each part takes: from measured
// or claimed times of each server, and the client's own. Pure; adds up the network as route.ts
// does.
import type { Candidate, RouteHop } from './route.ts'

/** What one server adds to a step, ms. */
export interface HopTimes extends RouteHop {
  /** Engine time of blocks [start, end). */
  readonly computeMs: number
  /** Wait before it. */
  readonly queueMs: number
  /**
   * Round trip of a step between client and server without the two above: network, frames, threads.
   */
  readonly tripMs: number
  /** Round trip of an empty message. */
  readonly rttMs: number
  /** Round trips to other servers, by peer. */
  readonly pings?: ReadonlyMap<string, number> | undefined
  /** From the previous server to this one, frames included; measured by pushing through both. */
  readonly forwardMs?: number
}

/** The client's own work for a step, ms. */
export interface ClientTimes {
  readonly embedMs: number
  /** Encoding rows and decoding the answer. */
  readonly codecMs: number
  readonly headMs: number
  readonly sampleMs: number
}

/** Parts of a step, ms, which add up to it. */
export interface Shares {
  readonly computeMs: number
  readonly queueMs: number
  readonly networkMs: number
  readonly headMs: number
  /** Embedding, codec, sampling. */
  readonly clientMs: number
}

export interface Forecast {
  readonly hops: readonly HopTimes[]
  readonly shares: Shares
  readonly stepMs: number
  /** With one token per step: accepted guesses are not counted. */
  readonly tokensPerSecond: number
}

/**
 * Cost of one more server besides its trips: it encodes its output a second time for the client.
 * 0.3 to 0.4 ms were measured on loopback.
 */
const MIRROR_MS = 0.35

/** Forecast of a step through `hops`, in order. */
export function forecast(hops: readonly HopTimes[], client: ClientTimes): Forecast {
  const shares: Shares = {
    computeMs: sum(hops.map((hop) => hop.computeMs)),
    queueMs: sum(hops.map((hop) => hop.queueMs)),
    networkMs: networkMs(hops),
    headMs: client.headMs,
    clientMs: client.embedMs + client.codecMs + client.sampleMs
  }
  const stepMs = sum(Object.values(shares))
  return { hops, shares, stepMs, tokensPerSecond: stepMs > 0 ? 1000 / stepMs : 0 }
}

/**
 * Half a round trip to the first server, one way between servers, half a round trip from the last.
 */
function networkMs(hops: readonly HopTimes[]): number {
  const ends = ((hops[0]?.tripMs ?? 0) + (hops.at(-1)?.tripMs ?? 0)) / 2
  return hops.slice(1).reduce((ms, hop, i) => {
    const before = hops[i]
    return before ? ms + (hop.forwardMs ?? forwardMs(before, hop) + MIRROR_MS) : ms
  }, ends)
}

/**
 * `hops` with the time of each push, from the trip of a step through all of them: the first and
 * last half are known, and the rest is shared out evenly.
 */
export function withForwards(hops: readonly HopTimes[], chainTripMs: number): HopTimes[] {
  const ends = ((hops[0]?.tripMs ?? 0) + (hops.at(-1)?.tripMs ?? 0)) / 2
  const each = Math.max(0, chainTripMs - ends) / Math.max(1, hops.length - 1)
  return hops.map((hop, i) => (i === 0 ? hop : { ...hop, forwardMs: each }))
}

/**
 * `hops` with the time of pushes to and from `peer`, which is as far from the others as the client
 * is.
 */
export function besideClient(hops: readonly HopTimes[], peer: string): HopTimes[] {
  return hops.map((hop, i) => {
    const before = hops[i - 1]
    if (!before || (hop.peer !== peer && before.peer !== peer)) return hop
    const other = hop.peer === peer ? before : hop
    return { ...hop, forwardMs: other.tripMs / 2 + MIRROR_MS }
  })
}

/**
 * One way between servers: by the round trip that one of them published, else by the client's round
 * trips to both.
 */
function forwardMs(from: HopTimes, to: HopTimes): number {
  const ping = from.pings?.get(to.peer) ?? to.pings?.get(from.peer)
  if (ping === undefined || !(ping >= 0)) return (from.tripMs + to.tripMs) / 4
  return (ping + stackMs(from) + stackMs(to)) / 2
}

/** What a step's trip costs beyond the network. */
function stackMs(hop: HopTimes): number {
  return Math.max(0, hop.tripMs - hop.rttMs) / 2
}

/**
 * Estimated times of a hop that was not tried: what its server claims, plus the cost of a step's
 * frames as measured elsewhere.
 */
export function claimedTimes(hop: RouteHop, candidate: Candidate, frameMs: number): HopTimes {
  const { blockMs, queueMs, rttMs, pings } = candidate
  const computeMs = blockMs * (hop.end - hop.start)
  return { ...hop, computeMs, queueMs, tripMs: rttMs + frameMs, rttMs, pings }
}

/** How engine time grows with blocks, measured at two lengths. */
export interface EngineTimes {
  readonly blockMs: number
  /** Fixed cost of a step. */
  readonly stepMs: number
}

/** A line through the engine times of fewer and of more blocks; noise must not make blocks free. */
export function engineTimes(
  few: { blocks: number; ms: number },
  many: { blocks: number; ms: number }
): EngineTimes {
  const more = many.blocks - few.blocks
  if (more <= 0) return { blockMs: many.ms / many.blocks, stepMs: 0 }
  const blockMs = (many.ms - few.ms) / more
  const stepMs = many.ms - blockMs * many.blocks
  if (blockMs > 0 && stepMs >= 0) return { blockMs, stepMs }
  return { blockMs: many.ms / many.blocks, stepMs: 0 }
}

export function engineMs(times: EngineTimes, blocks: number): number {
  return times.stepMs + times.blockMs * blocks
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
