// Whether a running server should serve other blocks: pure functions over the directory's records.
// Know no connections, no sessions and no clock; what drains, loads and announces calls them.
//
// What decides, in order: planMove says that a server should move and where to; while it drains,
// drainStep, opensGap and stillWorth say whether it waits, leaves or stays after all.
//
// planMove plays the moves that everyone should make, best first, and answers this server's own
// among them. All servers play the same game over the same records, so that few move where one is
// needed.
import type { BlockSpan } from '../../base/block-span.ts'
import { toHex } from '../../base/bytes.ts'
import type { ServerInfo } from '../../wire/types.ts'
import { coverage, weakestStart, type ServedSpan } from './placement.ts'

export interface PlacedServer extends ServedSpan {
  /** Hex of its public key: breaks ties the same way everywhere. */
  readonly peer: string
  /** It does not move. */
  readonly fixed?: boolean
  /** It said that it leaves its blocks. */
  readonly draining?: boolean
  /** Where it said it will be; while it loads, start equals end. */
  readonly next?: BlockSpan
}

/** Checks in a period while there is a gap. */
const GAP_CHECKS = 5
/** A move that takes longer to be made is not counted on. */
const FORESEEN_MS = 600_000

/** A record as placement sees it. */
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
  /** How many times the bottleneck must grow by the moves foreseen. Default 1.2. */
  factor?: number
  /** Most moves of all servers looked ahead. Default a twentieth of the servers, at least 16. */
  foresee?: number
  /** Peers that are not counted on to move. */
  unmoved?: ReadonlySet<string>
}

export type Move =
  | {
      readonly kind: 'stay'
      readonly why: 'balanced' | 'gap' | 'others' | 'little'
      /** Who should move instead. */
      readonly movers?: readonly string[]
    }
  | {
      readonly kind: 'move'
      readonly start: number
      readonly end: number
      /** Bottleneck as it is and when all moves foreseen are made, tokens a second. */
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
  // What all servers could give if every block had the same: nothing can be better.
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

/** The servers where they will be when all moves under way are made. */
export function intended(servers: readonly PlacedServer[]): PlacedServer[] {
  return servers
    .filter((one) => one.next || !one.draining)
    .map((one) => (one.next ? { ...one, start: one.next.start, end: one.next.end } : one))
}

/**
 * Whether a block would have nobody when `peer` leaves. Of several that drain at once, the one with
 * the lower key goes first and the others wait for it: no two leave one block to each other.
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
 * Whether a move that was decided is still worth making, by the plans heard since. Of several that
 * are not made yet, the one with the lower key counts as made and the others as given up: of two
 * servers that would fill one gap, one yields.
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
  /** Since the server said that it drains, ms. */
  readonly sinceMs: number
  /** What opensGap says now. */
  readonly opensGap: boolean
  /** What stillWorth says now. */
  readonly worth: boolean
  /** It goes where nobody is: as long as that is so, no session anywhere can go on. */
  readonly urgent: boolean
}

export interface DrainOptions {
  /** How long records take to reach everyone: nobody leaves unheard. Default 15,000. */
  heardMs?: number
  /** After this sessions are no longer waited for: their clients go round. Default 120,000. */
  drainMs?: number
}

/** What a server that decided to move does now: it leaves only when heard, idle and not needed. */
export function drainStep(
  state: DrainState,
  options: DrainOptions = {}
): 'wait' | 'leave' | 'stay' {
  const { heardMs = 15_000, drainMs = 120_000 } = options
  if (state.opensGap || !state.worth) return 'stay'
  if (state.sinceMs < heardMs) return 'wait'
  const idle = state.urgent || state.sessions === 0 || state.sinceMs >= drainMs
  return idle ? 'leave' : 'wait'
}

/** Mean time between checks: shorter while a block has nobody and nobody is on the way. */
export function checkPeriodMs(
  servers: readonly PlacedServer[],
  blockCount: number,
  periodMs: number
): number {
  const gap = least(coverage(intended(servers), blockCount)) <= 0
  return gap ? periodMs / GAP_CHECKS : periodMs
}

/**
 * Time to the next check: between half and one and a half periods, so that servers do not check as
 * one.
 */
export function nextCheckMs(periodMs: number, random: { next(): number }): number {
  return periodMs * (0.5 + random.next())
}

/**
 * The move that leaves the blocks it touches strongest. Only servers whose old blocks stay above
 * the weakest block can help it; the best of them is the same for everyone who has the same
 * records.
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
    // What is left of a difference of equal sums is no rate.
    rates[block] = sum > Math.abs(rate) * 1e-9 ? sum : 0
  }
}

/** No gap, and the bottleneck is at least `rate`. */
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
