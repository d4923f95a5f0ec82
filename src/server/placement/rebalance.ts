// Whether a running server should serve other blocks. Pure functions over the directory's records;
// they know no connections, no sessions and no clock. rebalancer.ts calls them in this order:
// planMove says whether a server should move and where to; while it drains, drainStep, opensGap and
// stillWorth say whether it waits, leaves or stays after all. planMove simulates the moves that all
// servers should make, best first, and returns this server's own move if it is among them. All
// servers run the same simulation over the same records, so that one moves where one is needed, and
// not all at once.
import type { BlockSpan } from '../../base/block-span.ts'
import { toHex } from '../../base/bytes.ts'
import type { ServerInfo } from '../../wire/types.ts'
import { coverage, weakestStart, type ServedSpan } from './placement.ts'

export interface PlacedServer extends ServedSpan {
  /** Public key, hex. Ties are broken by it, the same way on every server. */
  readonly peer: string
  /** The server never moves. */
  readonly fixed?: boolean
  /** It announced that it leaves its blocks. */
  readonly draining?: boolean
  /** Where it announced that it will be; while it loads, start equals end. */
  readonly next?: BlockSpan
}

/** Checks per period while there is a gap. */
const GAP_CHECKS = 5
/** A move that is announced to take longer is not relied on. */
const FORESEEN_MS = 600_000

/** A record in the form that placement uses. */
export function placedOf(info: ServerInfo): PlacedServer {
  const { start, end, throughput, draining, next } = info
  const peer = toHex(info.peer)
  if (!next) return { peer, start, end, throughput, draining, fixed: info.fixed ?? false }
  const span = next.left ? { start: 0, end: 0 } : { start, end }
  const planned = { peer, ...span, throughput, draining: true }
  if (next.inMs > FORESEEN_MS) return planned
  return { ...planned, next: { start: next.start, end: next.end } }
}

export interface MoveOptions {
  /** Least factor by which the planned moves must raise the bottleneck. Default 1.2. */
  factor?: number
  /**
   * Most moves, of all servers, that are simulated. Default a twentieth of the servers, at least
   * 16.
   */
  foresee?: number
  /** Peers that are not relied on to move. */
  unmoved?: ReadonlySet<string>
}

export type Move =
  | {
      readonly kind: 'stay'
      readonly why: 'balanced' | 'gap' | 'others' | 'little'
      /** The peers that should move instead. */
      readonly movers?: readonly string[]
    }
  | {
      readonly kind: 'move'
      readonly start: number
      readonly end: number
      /** The bottleneck now and after all simulated moves, tokens a second. */
      readonly fromRate: number
      readonly toRate: number
    }

/** Whether `peer` should move, and where to. */
export function planMove(
  peer: string,
  servers: readonly PlacedServer[],
  blockCount: number,
  options: MoveOptions = {}
): Move {
  const { factor = 1.2, foresee = Math.max(16, Math.ceil(servers.length / 20)), unmoved } = options
  const self = servers.find((one) => one.peer === peer)
  if (!self) return { kind: 'stay', why: 'others' }
  const placed = intended(servers)
  const rates = coverage(placed, blockCount)
  const fromRate = least(rates)
  // The rate if all blocks were served equally: the upper bound.
  const bestRate = rates.reduce((sum, rate) => sum + rate, 0) / blockCount
  if (bestRate < fromRate * factor) return { kind: 'stay', why: 'balanced' }
  if (opensGap(peer, servers, blockCount)) return { kind: 'stay', why: 'gap' }
  const gapsBefore = gapsIn(rates)
  const game = rates.slice()
  const left = placed.filter((one) => !one.next && !one.fixed && !unmoved?.has(one.peer))
  const movers: string[] = []
  let own: BlockSpan | undefined
  for (let round = 0; round < foresee && !reached(game, fromRate * factor); round++) {
    const move = bestMove(left, game, blockCount)
    if (!move) break
    const [mover] = left.splice(move.index, 1)
    if (!mover) break
    shift(game, mover, -1)
    shift(game, { ...mover, ...move }, 1)
    movers.push(mover.peer)
    if (mover.peer === peer) own = { start: move.start, end: move.end }
  }
  if (!own) return { kind: 'stay', why: 'others', movers }
  const toRate = least(game)
  const closes = gapsIn(game) < gapsBefore
  if (!closes && !(toRate >= fromRate * factor && toRate > 0))
    return { kind: 'stay', why: 'little' }
  return { kind: 'move', ...own, fromRate, toRate }
}

/** The servers as they will be placed when all announced moves are done. */
export function intended(servers: readonly PlacedServer[]): PlacedServer[] {
  return servers
    .filter((one) => one.next || !one.draining)
    .map((one) => (one.next ? { ...one, start: one.next.start, end: one.next.end } : one))
}

/**
 * Whether a block would have no server if `peer` left. If several servers drain at once, the one
 * with the lowest key goes first and the others wait: no two rely on each other for a block.
 */
export function opensGap(
  peer: string,
  servers: readonly PlacedServer[],
  blockCount: number
): boolean {
  const self = servers.find((one) => one.peer === peer)
  if (!self) return false
  const staying = servers.filter((one) => one !== self && !(one.draining && one.peer < peer))
  const rates = coverage(staying, blockCount)
  for (let block = Math.max(0, self.start); block < Math.min(self.end, blockCount); block++) {
    if ((rates[block] ?? 0) <= 0) return true
  }
  return false
}

/**
 * Whether a planned move is still worth making, given the moves announced since. Among moves that
 * are announced and not made yet, the one with the lower key counts as made and the others as
 * cancelled: of two servers that would fill one gap, one yields.
 */
export function stillWorth(
  peer: string,
  to: BlockSpan,
  servers: readonly PlacedServer[],
  blockCount: number
): boolean {
  const self = servers.find((one) => one.peer === peer)
  if (!self) return false
  const placed = servers.flatMap((one): PlacedServer[] => {
    if (one === self) return []
    if (!one.next || one.start === one.end || one.peer < peer) return intended([one])
    return [{ peer: one.peer, start: one.start, end: one.end, throughput: one.throughput }]
  })
  const stay = coverage(placed, blockCount)
  const go = stay.slice()
  shift(stay, self, 1)
  shift(go, { ...self, start: to.start, end: to.end }, 1)
  const low = (rates: Float64Array): number =>
    Math.min(leastIn(rates, self.start, self.end), leastIn(rates, to.start, to.end))
  return low(go) > low(stay)
}

export interface DrainState {
  readonly sessions: number
  /** Time since the server announced that it drains, ms. */
  readonly sinceMs: number
  /** The current result of opensGap. */
  readonly opensGap: boolean
  /** The current result of stillWorth. */
  readonly worth: boolean
  /** It moves to blocks that have no server. Until it arrives, no session can run anywhere. */
  readonly urgent: boolean
}

export interface DrainOptions {
  /**
   * How long a record takes to reach everybody, ms. A server leaves only after that. Default
   * 15,000.
   */
  spreadMs?: number
  /**
   * After this time sessions are no longer waited for, ms; their clients fail over. Default
   * 120,000.
   */
  drainMs?: number
}

/**
 * What a draining server does now: it leaves only when its record has spread, it is idle and it is
 * not needed.
 */
export function drainStep(
  state: DrainState,
  options: DrainOptions = {}
): 'wait' | 'leave' | 'stay' {
  const { spreadMs = 15_000, drainMs = 120_000 } = options
  if (state.opensGap || !state.worth) return 'stay'
  if (state.sinceMs < spreadMs) return 'wait'
  const idle = state.urgent || state.sessions === 0 || state.sinceMs >= drainMs
  return idle ? 'leave' : 'wait'
}

/** Mean time between checks, ms. Shorter while a block has no server and none is on its way. */
export function checkPeriodMs(
  servers: readonly PlacedServer[],
  blockCount: number,
  periodMs: number
): number {
  const gap = least(coverage(intended(servers), blockCount)) <= 0
  return gap ? periodMs / GAP_CHECKS : periodMs
}

/**
 * Time to the next check, ms: half to one and a half periods, so that servers do not check in step.
 */
export function nextCheckMs(periodMs: number, random: { next(): number }): number {
  return periodMs * (0.5 + random.next())
}

/**
 * The move after which the blocks it affects are strongest. Only a server whose old blocks stay
 * above the weakest block can raise the bottleneck. Everybody with the same records gets the same
 * result.
 */
function bestMove(
  servers: readonly PlacedServer[],
  rates: Float64Array,
  blockCount: number
): (BlockSpan & { index: number }) | undefined {
  const weakest = least(rates)
  const starts = new Map<number, number>()
  const lows = new Map<number, number>()
  let best: (BlockSpan & { index: number }) | undefined
  let bestValue = weakest
  for (const [index, one] of servers.entries()) {
    const size = one.end - one.start
    const rate = one.throughput / Math.max(1, size)
    const spanKey = one.start * blockCount + size
    const low = lows.get(spanKey) ?? leastIn(rates, one.start, one.end)
    lows.set(spanKey, low)
    if (low - rate < bestValue || size >= blockCount) continue
    const start = starts.get(size) ?? weakestStart(rates, size)
    starts.set(size, start)
    if (start === one.start) continue
    const value = Math.min(low - rate, leastIn(rates, start, start + size) + rate)
    const current = best && servers[best.index]
    const wins = value > bestValue || (value === bestValue && current && one.peer < current.peer)
    if (!wins) continue
    bestValue = value
    best = { index, start, end: start + size }
  }
  return best
}

function shift(rates: Float64Array, span: ServedSpan, sign: 1 | -1): void {
  const rate = (sign * span.throughput) / Math.max(1, span.end - span.start)
  for (let block = Math.max(0, span.start); block < Math.min(span.end, rates.length); block++) {
    const sum = (rates[block] ?? 0) + rate
    // A tiny remainder of subtracting equal sums is rounding error, not a rate.
    rates[block] = sum > Math.abs(rate) * 1e-9 ? sum : 0
  }
}

/** Whether there is no gap and the bottleneck is at least `rate`. */
function reached(rates: Float64Array, rate: number): boolean {
  const low = least(rates)
  return low > 0 && low >= rate
}

function least(rates: Float64Array): number {
  return leastIn(rates, 0, rates.length)
}

function leastIn(rates: Float64Array, start: number, end: number): number {
  let low = Infinity
  for (let block = Math.max(0, start); block < Math.min(end, rates.length); block++) {
    low = Math.min(low, rates[block] ?? 0)
  }
  return low
}

function gapsIn(rates: Float64Array): number {
  return rates.filter((rate) => rate <= 0).length
}
