// The open hops of a session: finds servers for blocks that have none, opens the session on them,
// and keeps for every boundary what was sent across it.
// Called by session.ts, which sends steps through the hops. Knows no steps.
import { deadline, type Clock } from '../base/clock.ts'
import { disconnected, toAppError } from '../base/errors.ts'
import { fromWire } from '../wire/peer-error.ts'
import type { ServerInfo, SessionOpened, WireDtype, WireError } from '../wire/types.ts'
import { History } from './history.ts'
import { HopFailure, type Hop } from './hop.ts'
import type { ClientLink, Connections } from './links.ts'
import type { PeerBook } from './peers.ts'
import { planRoute, uncovered, type Candidate, type RouteHop } from './route.ts'

export interface ChainOptions {
  session: Uint8Array
  connections: Connections
  book: PeerBook
  /** Servers of the model as the directory knows them now. */
  find: (signal: AbortSignal | undefined) => Promise<readonly ServerInfo[]>
  /** The model's content id. */
  model: Uint8Array
  blockCount: number
  hiddenSize: number
  dtype: WireDtype
  /** How long one server may take to be reached and to open the session, ms. */
  openMs: number
  clock: Clock
}

/** On loopback a link takes 15 ms, through a consistent NAT up to 100 ms. */
const FIRST_TRY_MS = 2_500
/** A move by choice must not hold a step up for long; the servers are connected already. */
const CHANGE_MS = 3_000

/** How a session is opened on a server. */
interface Opening {
  readonly maxTokens: number
  readonly signal: AbortSignal | undefined
  /** Default: as the chain's options say. */
  readonly openMs?: number
}

export class Chain {
  /** By first block; covers all blocks after cover(). */
  hops: Hop[] = []
  readonly #options: ChainOptions
  readonly #opening = new Map<string, PromiseWithResolvers<SessionOpened>>()
  /** Servers that were not reached in time once. */
  readonly #tried = new Set<string>()
  /** Inputs by the block they go into; they outlive the servers that were sent them. */
  readonly #inputs = new Map<number, History>()

  constructor(options: ChainOptions) {
    this.#options = options
  }

  /** What goes into `block`. */
  inputs(block: number): History {
    let inputs = this.#inputs.get(block)
    if (!inputs) {
      inputs = new History(this.#options.hiddenSize, this.#options.dtype)
      this.#inputs.set(block, inputs)
    }
    return inputs
  }

  /** Forgets positions from `length` on. */
  truncate(length: number): void {
    for (const inputs of this.#inputs.values()) inputs.truncate(length)
    for (const hop of this.hops) hop.kv = Math.min(hop.kv, length)
  }

  /**
   * Makes every block served and every server promise `maxTokens`.
   * @throws AppError NO_ROUTE, or HopFailure naming a server that refused
   */
  async cover(maxTokens: number, signal: AbortSignal | undefined): Promise<void> {
    const { blockCount, find } = this.#options
    const gaps = uncovered(this.hops, 0, blockCount)
    if (gaps.length > 0) {
      const servers = await find(signal)
      const used = new Set(this.hops.map((hop) => hop.link.peer))
      const planned = gaps.flatMap(([from, to]) =>
        this.#plan(servers, used, { from, to, tokens: maxTokens })
      )
      const entered = planned.map((one) => this.#enter(one, { maxTokens, signal }))
      const opened = await Promise.allSettled(entered)
      for (const one of opened) if (one.status === 'fulfilled') this.hops.push(one.value)
      this.hops.sort((a, b) => a.first - b.first)
      throwFirst(opened)
      this.#forgetInputs()
    }
    const short = this.hops.filter((hop) => hop.promised < maxTokens)
    await Promise.all(short.map((hop) => this.#promise(hop.link, hop, { maxTokens, signal })))
    for (const hop of short) hop.promised = maxTokens
  }

  /**
   * Goes over to a planned route: what is new in it is opened before what is not in it is let go.
   * @throws HopFailure naming a server that refused; all others are then as they were
   */
  async change(
    planned: readonly RouteHop[],
    maxTokens: number,
    signal: AbortSignal | undefined
  ): Promise<void> {
    const stays = (hop: Hop): boolean =>
      planned.some((one) => one.peer === hop.link.peer && sameBlocks(one, hop))
    const fresh = planned.filter(
      (one) => !this.hops.some((hop) => hop.link.peer === one.peer && sameBlocks(one, hop))
    )
    // A session is open once on a server, over one range.
    for (const { peer } of fresh) this.drop(peer)
    const opening = { maxTokens, signal, openMs: CHANGE_MS }
    const entered = fresh.map((one) => this.#enter(one, opening))
    const opened = await Promise.allSettled(entered)
    const failed = opened.find((one) => one.status === 'rejected')
    const hops = opened.flatMap((one) => (one.status === 'fulfilled' ? one.value : []))
    if (failed) {
      for (const hop of hops) this.#leave(hop)
      throw failed.reason
    }
    for (const hop of this.hops) if (!stays(hop)) this.#leave(hop)
    this.hops = [...this.hops.filter(stays), ...hops].sort((a, b) => a.first - b.first)
    this.#forgetInputs()
  }

  has(peer: string): boolean {
    return this.hops.some((hop) => hop.link.peer === peer)
  }

  /** Whether the route has this server, which is not the last, and leaves it to push. */
  canCarry(peer: string): boolean {
    const at = this.hops.findIndex((one) => one.link.peer === peer && !one.relay)
    return at >= 0 && at + 1 < this.hops.length
  }

  /** Lets the client carry what this server cannot push. */
  carryAfter(peer: string): void {
    const hop = this.hops.find((one) => one.link.peer === peer)
    if (hop) hop.relay = true
  }

  /** Takes a server out of the route; what it was sent stays. */
  drop(peer: string): void {
    const hop = this.hops.find((one) => one.link.peer === peer)
    if (!hop) return
    this.#leave(hop)
    this.hops = this.hops.filter((one) => one !== hop)
  }

  close(): void {
    for (const hop of this.hops) this.#leave(hop)
    this.hops = []
    this.#inputs.clear()
  }

  onopened(link: ClientLink, message: SessionOpened): void {
    this.#opening.get(link.peer)?.resolve(message)
  }

  onerror(link: ClientLink, message: WireError): void {
    this.#opening.get(link.peer)?.reject(fromWire(message))
  }

  ondisconnect(link: ClientLink): void {
    this.#opening.get(link.peer)?.reject(disconnected('The server went away'))
  }

  #plan(
    servers: readonly ServerInfo[],
    used: Set<string>,
    gap: { from: number; to: number; tokens: number }
  ): readonly RouteHop[] {
    const { book, clock } = this.#options
    const free = servers.map((info) => book.candidate(info)).filter((one) => !used.has(one.peer))
    const hops = planAround(free, gap, book.avoided(clock.now()))
    for (const hop of hops) used.add(hop.peer)
    return hops
  }

  async #enter(planned: RouteHop, opening: Opening): Promise<Hop> {
    const { connections, clock } = this.#options
    const { maxTokens, signal, openMs: mostMs = this.#options.openMs } = opening
    let link: ClientLink | undefined
    try {
      // A server that was killed or never answers is found out soon; one behind a difficult NAT, or
      // with much to do, gets its time later.
      const openMs = this.#tried.has(planned.peer) ? mostMs : Math.min(FIRST_TRY_MS, mostMs)
      this.#tried.add(planned.peer)
      const abort = signal ?? new AbortController().signal
      const reaching = connections.connect(planned.peer, abort, openMs)
      link = await deadline(reaching, openMs, { clock, signal, what: 'Connecting' })
      await this.#promise(link, planned, { ...opening, openMs })
      this.#tried.delete(planned.peer)
      const { first, last } = planned
      const inputs = this.inputs(first)
      return { link, first, last, inputs, kv: 0, promised: maxTokens, relay: false }
    } catch (error) {
      // It may yet open what nobody waits for any more.
      if (link && !link.closed) link.closeSession({ session: this.#options.session })
      if (error instanceof HopFailure) throw error
      throw new HopFailure(planned.peer, toAppError(error), { blocks: planned })
    }
  }

  /** Opens the session on a server, or changes what it promised. */
  async #promise(
    link: ClientLink,
    range: { first: number; last: number },
    opening: Opening
  ): Promise<void> {
    const { maxTokens, signal, openMs = this.#options.openMs } = opening
    const waiting = Promise.withResolvers<SessionOpened>()
    this.#opening.set(link.peer, waiting)
    try {
      const { model, session, clock, book } = this.#options
      const { first, last } = range
      const sentAt = clock.now()
      link.open({ session, model, first, last, maxTokens })
      await deadline(waiting.promise, openMs, { clock, signal, what: 'Opening a session' })
      book.noteRtt(link.peer, clock.now() - sentAt)
    } catch (error) {
      throw new HopFailure(link.peer, toAppError(error))
    } finally {
      this.#opening.delete(link.peer)
    }
  }

  /** Of boundaries that the route does not have. */
  #forgetInputs(): void {
    const starts = new Set(this.hops.map((hop) => hop.first))
    for (const block of this.#inputs.keys()) if (!starts.has(block)) this.#inputs.delete(block)
  }

  #leave(hop: Hop): void {
    if (!hop.link.closed) hop.link.closeSession({ session: this.#options.session })
  }
}

function sameBlocks(
  a: { first: number; last: number },
  b: { first: number; last: number }
): boolean {
  return a.first === b.first && a.last === b.last
}

/** @throws the first failure, with what else failed at the same time */
function throwFirst(all: readonly PromiseSettledResult<unknown>[]): void {
  const reasons = all.flatMap((one) => (one.status === 'rejected' ? [one.reason as unknown] : []))
  const failures = reasons.filter((one) => one instanceof HopFailure)
  const other = reasons.find((one) => !(one instanceof HopFailure))
  if (other !== undefined) throw other
  const [first, ...also] = failures
  if (!first) return
  first.also = also
  throw first
}

/** Round the servers that failed; when that leaves a gap, a failed one is better than none. */
function planAround(
  free: readonly Candidate[],
  gap: { from: number; to: number; tokens: number },
  avoid: ReadonlySet<string>
): readonly RouteHop[] {
  const { from, to, tokens } = gap
  try {
    return planRoute(free, from, to, { avoid, tokens }).hops
  } catch (error) {
    if (avoid.size === 0) throw error
    return planRoute(free, from, to, { tokens }).hops
  }
}
