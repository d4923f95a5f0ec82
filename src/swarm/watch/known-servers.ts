// The servers that a watcher knows, and what changed with each: who joined, moved, left and was
// lost. Bounded, whatever peers announce. Knows no network.
import { toHex } from '../../base/bytes.ts'
import type { ServerInfo } from '../../wire/types.ts'
import type { ServerSnapshot, SwarmEvent } from './snapshot.ts'

export interface KnownServer {
  info: ServerInfo
  state: ServerSnapshot['state']
  rttMs: number | undefined
  trainedTokens: number | undefined
  readonly firstSeenAt: number
  lastSeenAt: number
  /** When it was asked last, wall ms. */
  askedAt: number
}

/** What asking a server came to. */
export interface Asked {
  readonly rttMs: number | undefined
  readonly trainedTokens?: number | undefined
}

/** More servers than a page can show; who is known already is not pushed out. */
const MOST_SERVERS = 1_024
/** Of them, so many of one model: others are to be seen too. */
const MOST_OF_MODEL = 512

export class KnownServers {
  readonly #servers = new Map<string, KnownServer>()
  readonly #onevent: (event: SwarmEvent) => void

  constructor(onevent: (event: SwarmEvent) => void) {
    this.#onevent = onevent
  }

  get all(): readonly KnownServer[] {
    return [...this.#servers.values()]
  }

  /** What a record or the server itself says, at a wall time. */
  heard(info: ServerInfo, now: number, asked?: Asked): void {
    const peer = toHex(info.peer)
    const known = this.#servers.get(peer)
    if (!known) {
      if (!this.#hasRoom(info)) return
      const state = asked ? 'alive' : 'unasked'
      const times = { firstSeenAt: now, lastSeenAt: now, askedAt: asked ? now : 0 }
      const { rttMs, trainedTokens } = asked ?? {}
      this.#servers.set(peer, { info, state, rttMs, trainedTokens, ...times })
      this.#tell('joined', info, now)
      return
    }
    // A record may be older than what the server said over its link.
    if (info.issuedAt >= known.info.issuedAt) {
      if (isElsewhere(known.info, info)) this.#tell('moved', info, now)
      known.info = info
    }
    known.lastSeenAt = now
    if (!asked) return
    known.state = 'alive'
    known.rttMs = asked.rttMs
    known.trainedTokens = asked.trainedTokens
    known.askedAt = now
  }

  /** It did not answer. */
  silent(peer: Uint8Array, now: number): void {
    const known = this.#servers.get(toHex(peer))
    if (!known) return
    known.state = 'silent'
    known.askedAt = now
  }

  /** It says that it serves nothing any more. */
  left(peer: Uint8Array, now: number): void {
    const known = this.#servers.get(toHex(peer))
    if (!known) return
    this.#servers.delete(toHex(peer))
    this.#tell('left', known.info, now)
  }

  /** Forgets servers whose records have expired and that were not heard since. */
  expire(now: number): void {
    for (const [peer, { info }] of this.#servers) {
      if (info.expiresAt > now) continue
      this.#servers.delete(peer)
      this.#tell('lost', info, now)
    }
  }

  /** The server of one peer. */
  get(peer: string): KnownServer | undefined {
    return this.#servers.get(peer)
  }

  #hasRoom({ model }: ServerInfo): boolean {
    if (this.#servers.size >= MOST_SERVERS) return false
    let alike = 0
    for (const { info } of this.#servers.values()) {
      if (Buffer.compare(info.model, model) === 0) alike++
    }
    return alike < MOST_OF_MODEL
  }

  #tell(kind: SwarmEvent['kind'], info: ServerInfo, at: number): void {
    const { peer, model, modelName, start, end } = info
    this.#onevent({
      at,
      kind,
      peer: toHex(peer),
      model: toHex(model),
      name: modelName,
      start,
      end
    })
  }
}

function isElsewhere(a: ServerInfo, b: ServerInfo): boolean {
  return a.start !== b.start || a.end !== b.end || Buffer.compare(a.model, b.model) !== 0
}

export function snapshotOf(server: KnownServer): ServerSnapshot {
  const { info, state, rttMs, trainedTokens, firstSeenAt, lastSeenAt } = server
  const { start, end, next } = info
  return {
    peer: toHex(info.peer),
    start,
    end,
    state,
    quant: info.quant,
    arithmetic: info.arithmetic ?? null,
    adapters: info.adapters?.map((one) => toHex(one)) ?? null,
    trains: info.noTraining !== true,
    trainedTokens: trainedTokens ?? null,
    version: info.version,
    tokensPerSecond: info.throughput / (end - start),
    prefillTokensPerSecond: info.prefillThroughput / (end - start),
    freeTokens: info.freeTokens,
    maxTokens: info.maxTokens,
    draining: info.draining,
    moves: info.fixed !== true,
    next: next ? { start: next.start, end: next.end, inMs: next.inMs, loading: next.left } : null,
    rttMs: rttMs ?? null,
    pings: info.pings.map(({ peer, ms }) => ({ peer: toHex(peer), ms })),
    firstSeenAt,
    lastSeenAt
  }
}
