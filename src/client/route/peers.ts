// What this client has measured of each server: round trips, engine times, failures. Pure
// bookkeeping that turns the directory's records into candidates for routes.
import type { BlockSpan } from '../../base/block-span.ts'
import { toHex } from '../../base/bytes.ts'
import type { ServerInfo, ServerStatus } from '../../wire/types.ts'
import type { Candidate } from './route.ts'

interface Seen {
  rttMs: number | undefined
  blockMs: number | undefined
  queueMs: number
  avoidUntil: number
  /**
   * When it was found gone, by this machine's wall clock; Infinity: it is avoided for another
   * reason.
   */
  goneAt: number
  /** KV tokens offered in its last answer, and when that was by this machine's wall clock. */
  freeTokens: number
  freeAt: number
}

/** Blocks that this process computes itself. */
export interface OwnBlocks {
  /** Of these nobody else is asked for any. */
  readonly kept: BlockSpan | undefined
  readonly peers: ReadonlySet<string>
}

export interface PeerBookOptions {
  /** Assumed round trip to a server that was never measured, ms. Default 300. */
  unknownRttMs?: number
}

// Weight of a new measurement in the moving averages.
const ALPHA = 0.2
// Assumed round trip to an unmeasured server. With a lower guess, sessions keep switching to
// unmeasured servers and are disappointed each time: at 50 ms scripts/simulate/simulate-routing.ts
// counts four times the moves, and a slow 5 % of sessions at half the speed.
const UNKNOWN_RTT_MS = 300
const UNKNOWN_BLOCK_MS = 5

export class PeerBook {
  readonly #seen = new Map<string, Seen>()
  /** Round trips measured by an earlier process, for servers not measured since. */
  #recalled: ReadonlyMap<string, number> = new Map()
  readonly #unknownRttMs: number
  #own: OwnBlocks = { kept: undefined, peers: new Set() }

  constructor(options: PeerBookOptions = {}) {
    this.#unknownRttMs = options.unknownRttMs ?? UNKNOWN_RTT_MS
  }

  /**
   * Assumes these round trips, ms, until servers are measured: servers that were used lately are
   * used again, since they may still keep prefixes.
   */
  recall(rttMs: ReadonlyMap<string, number>): void {
    this.#recalled = rttMs
  }

  /** Servers of an earlier process, the most recently used first. */
  get recalled(): readonly string[] {
    return [...this.#recalled.keys()]
  }

  /** What this process computes itself from now on: no network stands before it. */
  noteOwn(own: OwnBlocks): void {
    this.#own = own
    for (const peer of own.peers) this.#of(peer).rttMs = 0
  }

  noteRtt(peer: string, ms: number): void {
    const seen = this.#of(peer)
    seen.rttMs = blend(seen.rttMs, ms)
  }

  /**
   * A link to the server is open, with this round trip, ms: one that was found gone is there after
   * all.
   */
  noteReached(peer: string, ms: number): void {
    const seen = this.#of(peer)
    if (seen.rttMs === undefined) this.noteRtt(peer, ms)
    if (seen.goneAt === Infinity) return
    seen.avoidUntil = -Infinity
    seen.goneAt = Infinity
  }

  /** The server's measured round trip; undefined if it was never measured. */
  rttMs(peer: string): number | undefined {
    return this.#seen.get(peer)?.rttMs
  }

  /**
   * Records one decode step over `blocks` blocks.
   * @param wall wall clock time: what is published later takes precedence. Default: anything
   * published does
   */
  noteStep(peer: string, blocks: number, status: ServerStatus, wall = 0): void {
    const seen = this.#of(peer)
    seen.freeTokens = status.freeTokens
    seen.freeAt = wall
    if (blocks > 0) seen.blockMs = blend(seen.blockMs, status.computeMs / blocks)
    seen.queueMs = blend(seen.queueMs, status.queueMs)
  }

  /**
   * Avoids a server until `until` (monotonic ms).
   * @param goneAt wall clock time at which it did not answer; it may be used earlier if it
   * publishes after that
   */
  avoid(peer: string, until: number, goneAt: number = Infinity): void {
    const { peers } = this.#own
    // What this process computes fails under one key as under another.
    for (const one of peers.has(peer) ? peers : [peer]) {
      const seen = this.#of(one)
      // A longer avoidance has a graver reason and stays.
      if (until < seen.avoidUntil) continue
      seen.avoidUntil = until
      seen.goneAt = goneAt
    }
  }

  /** A server's published description. If it is newer than its absence, the server is back. */
  noteInfo(info: ServerInfo): void {
    const seen = this.#seen.get(toHex(info.peer))
    if (seen && info.issuedAt > seen.goneAt) seen.avoidUntil = -Infinity
  }

  avoided(now: number): Set<string> {
    const all = new Set<string>()
    for (const [peer, seen] of this.#seen) if (seen.avoidUntil > now) all.add(peer)
    return all
  }

  /** Avoided servers, those that may be used again soonest first. */
  avoidedInOrder(now: number): string[] {
    const all = [...this.#seen].filter(([, seen]) => seen.avoidUntil > now)
    return all.sort(([, a], [, b]) => a.avoidUntil - b.avoidUntil).map(([peer]) => peer)
  }

  /** The blocks that a server may be asked for. */
  spanOf(info: ServerInfo): BlockSpan {
    const { peers, kept } = this.#own
    return kept === undefined || peers.has(toHex(info.peer)) ? info : without(info, kept)
  }

  candidate(info: ServerInfo): Candidate {
    const peer = toHex(info.peer)
    const seen = this.#seen.get(peer)
    const claimed = info.throughput > 0 ? 1000 / info.throughput : UNKNOWN_BLOCK_MS
    const { start, end } = this.spanOf(info)
    return {
      peer,
      start,
      end,
      blockMs: seen?.blockMs ?? claimed,
      queueMs: seen?.queueMs ?? 0,
      rttMs: seen?.rttMs ?? this.#recalled.get(peer) ?? this.#unknownRttMs,
      freeTokens: seen && seen.freeAt > info.issuedAt ? seen.freeTokens : info.freeTokens,
      ...(info.arithmetic === undefined ? {} : { arithmetic: info.arithmetic }),
      ...(info.pings.length > 0
        ? { pings: new Map(info.pings.map(({ peer: other, ms }) => [toHex(other), ms])) }
        : {})
    }
  }

  #of(peer: string): Seen {
    let seen = this.#seen.get(peer)
    if (!seen) {
      seen = {
        rttMs: undefined,
        blockMs: undefined,
        queueMs: 0,
        avoidUntil: -Infinity,
        goneAt: Infinity,
        freeTokens: 0,
        freeAt: -Infinity
      }
      this.#seen.set(peer, seen)
    }
    return seen
  }
}

/** The longer part of a span that none of `kept` is in. */
function without(span: BlockSpan, kept: BlockSpan): BlockSpan {
  if (kept.start >= span.end || kept.end <= span.start) return span
  const before = { start: span.start, end: Math.max(span.start, kept.start) }
  const behind = { start: Math.min(span.end, kept.end), end: span.end }
  const longer = before.end - before.start >= behind.end - behind.start ? before : behind
  return longer.start < longer.end ? longer : { start: 0, end: 0 }
}

function blend(old: number | undefined, reading: number): number {
  return old === undefined ? reading : old + ALPHA * (reading - old)
}
