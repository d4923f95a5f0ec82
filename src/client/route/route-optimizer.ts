// Looks for a better route in the background while a session runs steps, and offers it between two
// steps: one that is clearly faster, or one without a server that is about to leave. Also measures
// servers that the session does not use. Called by session.ts, which changes routes. route.ts and
// replan.ts decide.
import { toHex } from '../../base/bytes.ts'
import { deadline, type Clock } from '../../base/clock.ts'
import { toAppError } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { ServerInfo } from '../../wire/types.ts'
import { covers, roundingOf, staysAt } from './hop.ts'
import type { ClientLink, Connections } from './links.ts'
import type { PeerBook } from './peers.ts'
import { chooseRoute, newHops, worthMeasuring, type ReplanOptions } from './replan.ts'
import type { Candidate, RouteHop } from './route.ts'

/** The session's current state. */
export interface SessionNow {
  readonly hops: readonly (RouteHop & { readonly link: ClientLink })[]
  /** Tokens of the session so far. */
  readonly historyTokens: number
  /** Tokens that it is expected to generate still. */
  readonly tokensLeft: number
  /** KV tokens that a new server must have room for. */
  readonly maxTokens: number
}

export interface OptimizerOptions {
  connections: Connections
  book: PeerBook
  /** The directory's servers, looked up again if that was long ago. */
  look: (signal: AbortSignal) => Promise<readonly ServerInfo[]>
  blockCount: number
  session: () => SessionNow
  /** Mean time between looks, ms. Default 5000. */
  everyMs?: number
  /** Time to the first look, ms. Default: as between looks. */
  firstMs?: number | undefined
  /** What a move must promise. */
  replan?: Pick<ReplanOptions, 'factor' | 'payback' | 'leastMs' | 'restMs'>
  clock: Clock
  random: Random
  log: Log
}

const EVERY_MS = 5_000
/** Time between looks, ms, while a server is leaving and nobody else has its blocks. */
const HURRY_MS = 500
/** A route is offered only while the data it is based on is not older than this many looks. */
const FRESH_LOOKS = 2
const CONNECT_MS = 2_500
const PING_MS = 2_000
/**
 * Unmeasured servers that are tried in one look, and in a session's life: each costs a connection.
 */
const PROBES = 3
const MOST_PROBES = 32
/** A server that could not be reached is not tried again for this long. */
const UNREACHED_MS = 60_000

export class RouteOptimizer {
  readonly #options: OptimizerOptions
  readonly #closing = new AbortController()
  #stopTimer: () => void = () => {}
  #looking: Promise<void> | undefined
  #used = false
  #waiting = false
  #isFirst = true
  #probes = 0
  #better: { readonly hops: readonly RouteHop[]; readonly at: number } | undefined
  #moves = 0
  #movedAt = -Infinity
  #hurriedAt = -Infinity

  constructor(options: OptimizerOptions) {
    this.#options = options
  }

  /**
   * Called between steps. Looks are made as long as it is called; a server that leaves triggers the
   * next one at once.
   * @returns a route to change to now
   */
  between(): readonly RouteHop[] | undefined {
    const { clock, session, everyMs = EVERY_MS, book } = this.#options
    this.#used = true
    if (session().hops.some((hop) => !staysAt(hop))) this.#hurry()
    else if (!this.#waiting && !this.#looking) this.#lookLater()
    const better = this.#better
    this.#better = undefined
    if (!better || clock.now() - better.at > FRESH_LOOKS * everyMs) return undefined
    const avoided = book.avoided(clock.now())
    return better.hops.some((hop) => avoided.has(hop.peer)) ? undefined : better.hops
  }

  /** The session has changed to the route it was offered. */
  moved(): void {
    this.#moves++
    this.#movedAt = this.#options.clock.now()
  }

  close(): void {
    this.#stopTimer()
    this.#closing.abort()
  }

  #lookLater(): void {
    const { clock, random, everyMs = EVERY_MS, firstMs } = this.#options
    const meanMs = this.#isFirst ? (firstMs ?? everyMs) : everyMs
    this.#isFirst = false
    this.#waiting = true
    this.#stopTimer = clock.after(
      meanMs * (0.75 + 0.5 * random.next()),
      () => {
        this.#waiting = false
        // An idle session causes no traffic.
        if (this.#used) this.#lookNow()
      },
      true
    )
  }

  #hurry(): void {
    const now = this.#options.clock.now()
    if (this.#looking || this.#better || now - this.#hurriedAt < HURRY_MS) return
    this.#hurriedAt = now
    this.#stopTimer()
    this.#waiting = false
    this.#lookNow()
  }

  #lookNow(): void {
    this.#used = false
    this.#looking = this.#look()
      .catch((error: unknown) => {
        const { code, message } = toAppError(error)
        if (code !== 'CANCELLED' && code !== 'NO_ROUTE') this.#options.log.debug(message)
      })
      .finally(() => {
        this.#looking = undefined
        if (!this.#closing.signal.aborted && !this.#waiting) this.#lookLater()
      })
  }

  async #look(): Promise<void> {
    const { look, session, clock } = this.#options
    const found = await look(this.#closing.signal)
    if (session().hops.length === 0) return
    await Promise.all([
      ...session().hops.map((hop) => this.#measure(hop.peer)),
      ...this.#strangers(found).map((peer) => this.#measure(peer))
    ])
    const first = this.#compare(found)
    if (!first) return
    // New servers are measured before the session relies on them.
    const opened = newHops(session().hops, first)
    await Promise.all(opened.map((hop) => this.#measure(hop.peer)))
    const planned = this.#compare(found)
    if (planned) this.#better = { hops: planned, at: clock.now() }
  }

  /** The route to change to, by what is known now. */
  #compare(found: readonly ServerInfo[]): readonly RouteHop[] | undefined {
    const { book, clock, blockCount, replan } = this.#options
    const session = this.#options.session()
    const candidates = this.#candidates(found, session.hops.every(staysAt))
    return chooseRoute({ ...session, blockCount }, candidates, {
      ...replan,
      avoid: book.avoided(clock.now()),
      moves: this.#moves,
      sinceMoveMs: clock.now() - this.#movedAt
    })
  }

  /**
   * The servers that the session may use: those that do not plan to leave, and as long as all of
   * its own stay, only those that compute the same bits.
   */
  #candidates(found: readonly ServerInfo[], staying: boolean): readonly Candidate[] {
    const { book } = this.#options
    const { hops } = this.#options.session()
    const infos = new Map(found.map((info) => [toHex(info.peer), info]))
    for (const hop of hops) {
      // The link's description is newer than any record.
      if (!hop.link.servers || hop.link.isLocal) continue
      const own = hop.link.servers.find((info) => covers(info, hop))
      if (own) infos.set(hop.peer, own)
      else infos.delete(hop.peer)
    }
    const roundings = hops.map((hop) => {
      const info = infos.get(hop.peer)
      return { ...hop, rounding: info && roundingOf(info) }
    })
    const used = new Set(hops.map((hop) => hop.peer))
    return [...infos.values()].flatMap((info) => {
      if (info.draining) return []
      // Another quantisation or arithmetic rounds differently: speed is not worth different words.
      const over = roundings.filter((one) => one.start < info.end && one.end > info.start)
      const own = roundingOf(info)
      if (staying && over.some(({ rounding }) => rounding && rounding !== own)) return []
      const { freeTokens, ...candidate } = book.candidate(info)
      // A server in use has already given this session its room.
      return used.has(candidate.peer) || freeTokens === undefined
        ? candidate
        : { ...candidate, freeTokens }
    })
  }

  /** Servers to measure in this look. */
  #strangers(found: readonly ServerInfo[]): readonly string[] {
    const { book, clock, blockCount, session, replan } = this.#options
    const left = Math.min(PROBES, MOST_PROBES - this.#probes)
    if (left <= 0) return []
    const known = (peer: string): boolean => book.rttMs(peer) !== undefined
    const strangers = worthMeasuring(
      { ...session(), blockCount },
      this.#candidates(found, true),
      known,
      {
        avoid: book.avoided(clock.now()),
        ...(replan?.factor === undefined ? {} : { factor: replan.factor })
      }
    ).slice(0, left)
    this.#probes += strangers.length
    return strangers
  }

  /** Notes a server's round trip; one that cannot be reached is avoided for a while. */
  async #measure(peer: string): Promise<void> {
    const { connections, book, clock, session } = this.#options
    const { signal } = this.#closing
    const own = session().hops.find((hop) => hop.peer === peer)
    try {
      const reaching = own?.link ?? connections.connect(peer, signal, CONNECT_MS)
      const link = await deadline(Promise.resolve(reaching), CONNECT_MS, { clock, signal })
      book.noteRtt(peer, await link.ping(PING_MS))
    } catch (error) {
      if (signal.aborted) throw error
      // Whether a server in use is alive is for the session to find out.
      if (!own) book.avoid(peer, clock.now() + UNREACHED_MS)
    }
  }
}
