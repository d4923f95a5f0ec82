// Watches the other servers: looks up the swarm regularly, measures round trips to the servers that
// it would push to, and reports both. Called by host.ts. Decides nothing.
import { toHex } from '../../base/bytes.ts'
import type { Clock } from '../../base/clock.ts'
import { toAppError } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { ServerInfo } from '../../wire/types.ts'
import { nextCheckMs } from './rebalance.ts'
import { likelySuccessors } from './successors.ts'

export interface MonitorOptions {
  /** Finds the other servers of the model. */
  find: (signal: AbortSignal) => Promise<readonly ServerInfo[]>
  /** Asks these servers directly. Returns those that answer, with their current description. */
  ask: (servers: readonly ServerInfo[], signal: AbortSignal) => Promise<readonly ServerInfo[]>
  /** One round trip to a server, ms; rejects when it does not answer. */
  ping: (peer: Uint8Array, signal: AbortSignal) => Promise<number>
  /** End of this server's span: the block its successors start with. */
  end: () => number
  /** Called with the round trips, nearest first, when they are new or have clearly changed. */
  onpings: (pings: ServerInfo['pings']) => void
  /** Called after each look but the first. The next look waits for it. */
  onlook?: (servers: readonly ServerInfo[], signal: AbortSignal) => Promise<unknown>
  /** Mean time to the next look, given these servers, ms. The first looks come sooner. */
  periodMs: (servers: readonly ServerInfo[]) => number
  clock: Clock
  random: Random
  log: Log
}

/** The first looks come soon, because servers are often started together. */
const FIRST_MS = 5_000
const SLOWER = 3
/**
 * Time to the next look when a server may have gone, and the shortest time between two looks, ms.
 */
const SOON_MS = 2_000
const LEAST_MS = 10_000
/** Most servers asked in one look whether they are still there. */
const MOST_ASKED = 16
/** Weight of a new measurement in the moving average. */
const ALPHA = 0.3
/** A smaller relative change is not published. */
const CHANGE = 0.25
const LEAST_CHANGE_MS = 1

export class SwarmMonitor {
  readonly #options: MonitorOptions
  readonly #closing = new AbortController()
  readonly #known = new Map<string, number>()
  #published: ServerInfo['pings'] = []
  #looks = 0
  #seen: readonly ServerInfo[] = []
  #lookedAt = -Infinity
  #waiting = false
  /** Servers that did not answer or whose link ended, even if their records are still there. */
  readonly #doubted = new Set<string>()
  #stopTimer: () => void = () => {}

  constructor(options: MonitorOptions) {
    this.#options = options
  }

  start(): void {
    const { periodMs } = this.#options
    this.#lookIn(Math.min(periodMs(this.#seen), FIRST_MS * SLOWER ** this.#looks))
  }

  /** A server's link ended or the server said that it leaves. Its record may be out of date. */
  gone(peer: string): void {
    if (!this.#seen.some((info) => toHex(info.peer) === peer)) return
    this.#doubted.add(peer)
    const sinceMs = this.#options.clock.now() - this.#lookedAt
    if (this.#waiting) this.#lookIn(Math.max(SOON_MS, LEAST_MS - sinceMs))
  }

  /** The other servers, without those that have left but whose records remain. */
  async view(signal: AbortSignal): Promise<readonly ServerInfo[]> {
    const { find, ask } = this.#options
    const found = await find(signal)
    const doubted = found.filter(({ peer }) => this.#doubted.has(toHex(peer)))
    const living = await ask(doubted.slice(0, MOST_ASKED), signal)
    for (const { peer } of living) this.#doubted.delete(toHex(peer))
    const known = new Set(found.map(({ peer }) => toHex(peer)))
    for (const peer of this.#doubted) if (!known.has(peer)) this.#doubted.delete(peer)
    return found.filter(({ peer }) => !this.#doubted.has(toHex(peer)))
  }

  close(): void {
    this.#stopTimer()
    this.#closing.abort()
  }

  #lookIn(meanMs: number): void {
    const { clock, random } = this.#options
    this.#stopTimer()
    this.#waiting = true
    this.#stopTimer = clock.after(nextCheckMs(meanMs, random), () => void this.#round(), true)
  }

  async #round(): Promise<void> {
    const { onlook, log, clock } = this.#options
    const { signal } = this.#closing
    this.#waiting = false
    this.#lookedAt = clock.now()
    try {
      const servers = await this.view(signal)
      this.#seen = servers
      await this.#measure(servers)
      if (this.#looks++ > 0) await onlook?.(servers, signal)
    } catch (error) {
      if (!signal.aborted)
        log.debug(`the swarm could not be looked at: ${toAppError(error).message}`)
    }
    if (!signal.aborted) this.start()
  }

  async #measure(servers: readonly ServerInfo[]): Promise<void> {
    const { ping, end, random, onpings } = this.#options
    const { signal } = this.#closing
    const infos = new Map(servers.map((info) => [toHex(info.peer), info]))
    for (const peer of this.#known.keys()) if (!infos.has(peer)) this.#known.delete(peer)
    const neighbours = [...infos].map(([peer, info]) => ({ ...info, peer }))
    const chosen = likelySuccessors(neighbours, end(), this.#known, random)
    const measured = chosen.map(async (peer) => {
      const info = infos.get(peer)
      if (!info) return []
      try {
        const ms = await ping(info.peer, signal)
        const old = this.#known.get(peer) ?? ms
        this.#known.set(peer, old + ALPHA * (ms - old))
        return [{ peer: info.peer, ms: this.#known.get(peer) ?? ms }]
      } catch {
        // A server that does not answer is no successor at present.
        this.#known.delete(peer)
        this.#doubted.add(peer)
        return []
      }
    })
    const pings = (await Promise.all(measured)).flat().sort((a, b) => a.ms - b.ms)
    if (signal.aborted || !differ(this.#published, pings)) return
    this.#published = pings
    onpings(pings)
  }
}

function differ(old: ServerInfo['pings'], now: ServerInfo['pings']): boolean {
  if (old.length !== now.length) return true
  const before = new Map(old.map(({ peer, ms }) => [toHex(peer), ms]))
  return now.some(({ peer, ms }) => {
    const was = before.get(toHex(peer))
    return was === undefined || Math.abs(ms - was) > Math.max(LEAST_CHANGE_MS, CHANGE * was)
  })
}
