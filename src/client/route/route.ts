// Which servers a session uses: the chain of spans with the shortest expected step. Pure functions
// over records; knows no connections. route-keeper.ts carries out the plan, replan.ts compares
// plans.
//
// One pass over the blocks keeps, for each server, the cheapest way to have computed up to this
// block and be at this server. A server is entered from the few cheapest of those that end where it
// begins: O(blocks * servers).
import type { BlockSpan } from '../../base/block-span.ts'
import { noRoute } from '../../base/errors.ts'
import { gapsOf } from '../../swarm/coverage.ts'

/** One server as routing sees it. */
export interface Candidate extends BlockSpan {
  /** Public key of the server, hex. */
  readonly peer: string
  /** Expected engine time of one block for one token, ms. */
  readonly blockMs: number
  /** Expected wait before the engine starts, ms. */
  readonly queueMs: number
  /** The client's round trip to it, ms. */
  readonly rttMs: number
  /** KV tokens that a new session could get; unknown if left out. */
  readonly freeTokens?: number
  /** Round trips to other servers that it published, by peer, ms. */
  readonly pings?: ReadonlyMap<string, number>
  /** Name and version of its arithmetic; unknown if left out. */
  readonly arithmetic?: string
}

export interface RouteHop extends BlockSpan {
  readonly peer: string
  /** Computed by this process, in the route of a session. */
  readonly isLocal?: boolean
}

/** A hop's server in a few letters. */
export function hopName({ peer, isLocal }: Pick<RouteHop, 'peer' | 'isLocal'>): string {
  return isLocal ? 'here' : peer.slice(0, 8)
}

export interface Route {
  readonly hops: readonly RouteHop[]
  /** Expected time of one decode step through all hops, ms. */
  readonly expectedMs: number
}

export interface RouteOptions {
  /** Peers that must not be used. */
  avoid?: ReadonlySet<string>
  /** KV tokens that the session needs; servers with less free room are a last resort. Default 0. */
  tokens?: number
}

/** Cost of one more server besides the network, ms: frames, encryption, waking up. */
const FORWARD_MS = 0.5
/** Penalty of a server that will refuse for lack of KV, ms: almost any detour is better. */
const NO_ROOM_MS = 10_000
/** Published round trips are claims. A longer one is useless, and a negative one is nonsense. */
const MOST_PING_MS = 10_000
/** Only the best predecessors are tried, unless all of them already use this server. */
const SHORTLIST = 16

/** Being at a server since a block; `before` is the rest of the route. */
interface PathNode {
  /** Index among the usable servers. */
  readonly at: number
  readonly candidate: Candidate
  readonly since: number
  readonly before: PathNode | undefined
}

/** A server that has computed up to the current block. */
interface FrontierEntry {
  readonly node: PathNode
  readonly ms: number
  /**
   * Expected time including a quarter of its round trip; whichever server comes next adds its own
   * quarter.
   */
  readonly halfwayMs: number
}

interface Frontier {
  readonly all: readonly FrontierEntry[]
  /** The earliest time among them. */
  readonly firstMs: number
  readonly nearest: readonly FrontierEntry[]
  /** By index among the usable servers. */
  readonly byServer: readonly (FrontierEntry | undefined)[]
}

/** A server whose distance is published, and the one-way time from it. */
interface Ping {
  readonly from: number
  readonly ms: number
}

/**
 * The fastest chain over blocks [start, end).
 * @throws AppError NO_ROUTE naming the blocks that nobody serves
 */
export function planRoute(
  candidates: readonly Candidate[],
  start: number,
  end: number,
  options: RouteOptions = {}
): Route {
  const { avoid = new Set<string>(), tokens = 0 } = options
  const usable = candidates
    .filter((one) => !avoid.has(one.peer) && one.start < end && one.end > start)
    .sort((a, b) => a.start - b.start)
  const gaps = uncovered(usable, start, end)
  if (gaps.length > 0) throw noServers(gaps, avoid.size)
  const pings = pingsInto(usable)
  let serving: FrontierEntry[] = []
  let coming = 0
  for (let block = start; block < end; block++) {
    const frontier = frontierOf(serving, usable.length)
    const next: FrontierEntry[] = []
    const goOn = (at: number, candidate: Candidate, own: FrontierEntry | undefined): void => {
      const ready = readyMs(candidate, tokens)
      const pays = own === undefined || own.ms > frontier.firstMs + ready + FORWARD_MS
      const entry = !pays
        ? undefined
        : block === start
          ? { ms: candidate.rttMs / 2, node: undefined }
          : cheapest(at, candidate, frontier, pings[at] ?? [])
      const stays = own !== undefined && own.ms <= (entry?.ms ?? Infinity) + ready
      if (!stays && !entry) return
      const ms = (stays ? own.ms : (entry?.ms ?? 0) + ready) + candidate.blockMs
      const node = stays ? own.node : { at, candidate, since: block, before: entry?.node }
      next.push({ node, ms, halfwayMs: ms + candidate.rttMs / 4 })
    }
    for (const own of serving) {
      const { at, candidate } = own.node
      if (candidate.end > block) goOn(at, candidate, own)
    }
    for (let one = usable[coming]; one && one.start <= block; one = usable[++coming]) {
      goOn(coming, one, undefined)
    }
    serving = next
  }
  let best: FrontierEntry | undefined
  let bestMs = Infinity
  for (const one of serving) {
    const ms = one.ms + one.node.candidate.rttMs / 2
    if (ms >= bestMs) continue
    best = one
    bestMs = ms
  }
  if (!best) throw noServers([[start, end]], avoid.size)
  return { hops: unwind(best.node, end), expectedMs: bestMs }
}

/** Expected time of one decode step through `hops`; undefined if a server is no longer there. */
export function routeMs(
  hops: readonly RouteHop[],
  candidates: readonly Candidate[],
  options: Pick<RouteOptions, 'tokens'> = {}
): number | undefined {
  const route: Candidate[] = []
  for (const hop of hops) {
    const one = candidates.find(({ peer }) => peer === hop.peer)
    if (!one || one.start > hop.start || one.end < hop.end) return undefined
    route.push(one)
  }
  let ms = ((route[0]?.rttMs ?? 0) + (route.at(-1)?.rttMs ?? 0)) / 2
  for (const [index, one] of route.entries()) {
    const hop = hops[index]
    const next = route[index + 1]
    ms += readyMs(one, options.tokens ?? 0) + one.blockMs * ((hop?.end ?? 0) - (hop?.start ?? 0))
    if (next)
      ms +=
        FORWARD_MS +
        (oneWay(one.pings?.get(next.peer)) ??
          oneWay(next.pings?.get(one.peer)) ??
          (one.rttMs + next.rttMs) / 4)
  }
  return ms
}

/** Ranges of [start, end) that no span covers, in order. */
export function uncovered(
  spans: readonly BlockSpan[],
  start: number,
  end: number
): [number, number][] {
  return gapsOf(spans, end, start, end).map((gap) => [gap.start, gap.end])
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

function readyMs(candidate: Candidate, tokens: number): number {
  const room = candidate.freeTokens === undefined || candidate.freeTokens >= tokens
  return candidate.queueMs + (room ? 0 : NO_ROOM_MS)
}

/** One-way time of a published round trip; undefined if that is nonsense. */
function oneWay(ping: number | undefined): number | undefined {
  return ping !== undefined && ping >= 0 ? Math.min(ping, MOST_PING_MS) / 2 : undefined
}

/** For each server, those with a published distance to it, published by either side. */
function pingsInto(usable: readonly Candidate[]): Ping[][] {
  const indexes = new Map(usable.map((one, at) => [one.peer, at]))
  const into: Ping[][] = usable.map(() => [])
  const back: { from: number; to: number; ms: number }[] = []
  for (const [at, one] of usable.entries()) {
    for (const [peer, ping] of one.pings ?? []) {
      const to = indexes.get(peer)
      const ms = oneWay(ping)
      if (to === undefined || ms === undefined || to === at) continue
      into[to]?.push({ from: at, ms })
      back.push({ from: to, to: at, ms })
    }
  }
  for (const { from, to, ms } of back) {
    const known = into[to]
    if (known?.every((one) => one.from !== from)) known.push({ from, ms })
  }
  return into
}

function frontierOf(all: readonly FrontierEntry[], servers: number): Frontier {
  const nearest: FrontierEntry[] = []
  let firstMs = Infinity
  const byServer: (FrontierEntry | undefined)[] = Array.from({ length: servers })
  for (const one of all) {
    byServer[one.node.at] = one
    firstMs = Math.min(firstMs, one.ms)
    const most = nearest[SHORTLIST - 1]
    if (most && one.halfwayMs >= most.halfwayMs) continue
    let at = Math.min(nearest.length, SHORTLIST - 1)
    for (let above = nearest[at - 1]; above && above.halfwayMs > one.halfwayMs;) {
      nearest[at--] = above
      above = nearest[at - 1]
    }
    nearest[at] = one
  }
  return { all, firstMs, nearest, byServer }
}

/** The cheapest way to enter a server, including the trip. */
function cheapest(
  at: number,
  to: Candidate,
  frontier: Frontier,
  pings: readonly Ping[]
): { ms: number; node: PathNode } | undefined {
  let best = Infinity
  let node: PathNode | undefined
  for (const ping of pings) {
    const from = frontier.byServer[ping.from]
    if (!from || from.ms + ping.ms >= best || visits(from.node, at)) continue
    best = from.ms + ping.ms
    node = from.node
  }
  const guessed = guess(at, frontier.nearest, pings) ?? guess(at, frontier.all, pings)
  const guessedMs = guessed ? guessed.halfwayMs + to.rttMs / 4 : Infinity
  if (guessed && guessedMs < best) return { ms: guessedMs + FORWARD_MS, node: guessed.node }
  return node && { ms: best + FORWARD_MS, node }
}

/** The cheapest among those without a published distance. */
function guess(
  at: number,
  frontier: readonly FrontierEntry[],
  pings: readonly Ping[]
): FrontierEntry | undefined {
  let best: FrontierEntry | undefined
  for (const entry of frontier) {
    if (best && entry.halfwayMs >= best.halfwayMs) continue
    if (visits(entry.node, at) || pings.some((ping) => ping.from === entry.node.at)) continue
    best = entry
  }
  return best
}

// A server has a session open only once, over one range, so it cannot be in a route twice.
function visits(from: PathNode, server: number): boolean {
  for (let one: PathNode | undefined = from; one; one = one.before)
    if (one.at === server) return true
  return false
}

function unwind(node: PathNode, blocksEnd: number): RouteHop[] {
  const hops: RouteHop[] = []
  let end = blocksEnd
  for (let at: PathNode | undefined = node; at; at = at.before) {
    hops.push({ peer: at.candidate.peer, start: at.since, end })
    end = at.since
  }
  return hops.reverse()
}
