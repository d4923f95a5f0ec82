// What this client has seen of each server: round trips, engine times, failures.
// Pure bookkeeping that turns the directory's records into routing candidates.
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
   * When it was found gone, by this machine's clock on the wall; Infinity: it is avoided for more.
   */
  goneAt: number
  /**
   * KV tokens that its last answer offered, and when that was by this machine's clock on the wall.
   */
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
  /** Round trip assumed of a server that was never asked, ms. Default 300. */
  unknownRttMs?: number
}

// Weight of a new reading in the moving averages.
const ALPHA = 0.2
// Assumed of a server that was never asked. Who assumes less hops from stranger to stranger, each
// time disappointed: at 50 scripts/simulate/simulate-routing.ts counts four times the moves, and
// half the slow 5 %.
const UNKNOWN_RTT_MS = 300
const UNKNOWN_BLOCK_MS = 5

export class PeerBook {
  readonly #seen = new Map<string, Seen>()
  /** Round trips of an earlier time, for servers not asked since. */
  #recalled: ReadonlyMap<string, number> = new Map()
  readonly #unknownRttMs: number
  #own: OwnBlocks = { kept: undefined, peers: new Set() }

  constructor(options: PeerBookOptions = {}) {
    this.#unknownRttMs = options.unknownRttMs ?? UNKNOWN_RTT_MS
  }

  /**
   * Assumes these round trips, ms, of servers until they are measured: who was used lately is used
   * again, and may still have what it kept.
   */
  recall(rttMs: ReadonlyMap<string, number>): void {
    this.#recalled = rttMs
  }

  /** Servers of an earlier time, those used last first. */
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

  /** The server's round trip as seen so far; undefined when it was never measured. */
  rttMs(peer: string): number | undefined {
    return this.#seen.get(peer)?.rttMs
  }

  /**
   * Notes one decode step over `blocks` blocks.
   * @param wall the wall clock's reading: what is published later counts more. Default: nothing
   * does less
   */
  noteStep(peer: string, blocks: number, status: ServerStatus, wall = 0): void {
    const seen = this.#of(peer)
    seen.freeTokens = status.freeTokens
    seen.freeAt = wall
    if (blocks > 0) seen.blockMs = blend(seen.blockMs, status.computeMs / blocks)
    seen.queueMs = blend(seen.queueMs, status.queueMs)
  }

  /**
   * Goes round a server until `until` (monotonic ms).
   * @param goneAt the wall clock's reading, of one that does not answer: it may be back sooner
   */
  avoid(peer: string, until: number, goneAt: number = Infinity): void {
    const { peers } = this.#own
    // What this process computes fails under one key as under another.
    for (const one of peers.has(peer) ? peers : [peer]) {
      const seen = this.#of(one)
      // One that was avoided for longer is avoided for more than being gone.
      if (until < seen.avoidUntil) continue
      seen.avoidUntil = until
      seen.goneAt = goneAt
    }
  }

  /** What a server published: one that was gone when it did is back. */
  noteInfo(info: ServerInfo): void {
    const seen = this.#seen.get(toHex(info.peer))
    if (seen && info.issuedAt > seen.goneAt) seen.avoidUntil = -Infinity
  }

  avoided(now: number): Set<string> {
    const all = new Set<string>()
    for (const [peer, seen] of this.#seen) if (seen.avoidUntil > now) all.add(peer)
    return all
  }

  /** Servers to go round, those that are asked again soonest first. */
  avoidedInOrder(now: number): string[] {
    const all = [...this.#seen].filter(([, seen]) => seen.avoidUntil > now)
    return all.sort(([, a], [, b]) => a.avoidUntil - b.avoidUntil).map(([peer]) => peer)
  }

  candidate(info: ServerInfo): Candidate {
    const peer = toHex(info.peer)
    const seen = this.#seen.get(peer)
    const claimed = info.throughput > 0 ? 1000 / info.throughput : UNKNOWN_BLOCK_MS
    const { start, end } = this.#own.peers.has(peer) ? info : without(info, this.#own.kept)
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
function without(span: BlockSpan, kept: BlockSpan | undefined): BlockSpan {
  if (!kept || kept.start >= span.end || kept.end <= span.start) return span
  const before = { start: span.start, end: Math.max(span.start, kept.start) }
  const behind = { start: Math.min(span.end, kept.end), end: span.end }
  const longer = before.end - before.start >= behind.end - behind.start ? before : behind
  return longer.start < longer.end ? longer : { start: 0, end: 0 }
}

function blend(old: number | undefined, reading: number): number {
  return old === undefined ? reading : old + ALPHA * (reading - old)
}
