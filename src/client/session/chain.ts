// The open hops of a session: finds servers for blocks that have none, opens the session on them,
// and keeps for every boundary what was sent across it.
// Called by session.ts, which sends steps through the hops. Knows no steps.
import type { BlockSpan } from '../../base/block-span.ts'
import { toHex } from '../../base/bytes.ts'
import { deadline, type Clock } from '../../base/clock.ts'
import { disconnected, protocolError, toAppError } from '../../base/errors.ts'
import { fromWire } from '../../wire/peer-error.ts'
import type {
  PrefixMark,
  ServerInfo,
  SessionOpened,
  WireDtype,
  WireError
} from '../../wire/types.ts'
import { History } from './history.ts'
import { hasLeft, HopFailure, type Hop } from '../route/hop.ts'
import type { ClientLink, Connections } from '../route/links.ts'
import type { Naming } from './naming.ts'
import type { PeerBook } from '../route/peers.ts'
import type { Station } from './replay.ts'
import { planGaps } from '../route/plan-gaps.ts'
import { uncovered, type Candidate, type RouteHop } from '../route/route.ts'

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
  /** What servers may keep of the session, and be asked for. Default: nothing. */
  naming?: Naming | undefined
  /** Servers are to keep nothing of it, and no longer what they had. */
  forget?: boolean | undefined
  /** How long one server may take to be reached and to open the session, ms. */
  openMs: number
  clock: Clock
}

/** On loopback a link takes 15 ms, through a consistent NAT up to 100 ms. */
const FIRST_TRY_MS = 2_500
/** Servers that are reached for beside the one that takes a failed one's place. */
const MOST_SPARES = 3
/** A move by choice must not hold a step up for long; the servers are connected already. */
const CHANGE_MS = 3_000

/** How a session is opened on a server. */
interface Opening {
  readonly maxTokens: number
  readonly signal: AbortSignal | undefined
  /** Beginnings of the session that the server may hold. */
  readonly prefix?: readonly PrefixMark[]
  /** Default: as the chain's options say. */
  readonly openMs?: number
}

/** New tokens after which servers learn the names of beginnings that they may be asked for. */
const NAME_EVERY = 64

export class Chain {
  /** By first block; covers all blocks after cover(). */
  hops: Hop[] = []
  readonly #options: ChainOptions
  readonly #opening = new Map<string, PromiseWithResolvers<SessionOpened>>()
  /** Servers that were not reached in time once. */
  readonly #tried = new Set<string>()
  /** Inputs by the block they go into; they outlive the servers that were sent them. */
  readonly #inputs = new Map<number, History>()
  /** By server, what it holds its weights in. */
  readonly #quants = new Map<string, string>()

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
    for (const hop of this.hops) {
      hop.kv = Math.min(hop.kv, length)
      hop.named = Math.min(hop.named, length)
    }
  }

  /**
   * Makes every block served and every server promise `maxTokens`.
   * @throws AppError NO_ROUTE, or HopFailure naming a server that refused
   */
  async cover(maxTokens: number, signal: AbortSignal | undefined): Promise<void> {
    const { blockCount, find } = this.#options
    // A server that has moved may be needed where it is now.
    for (const hop of this.hops.filter(hasLeft)) this.drop(hop.link.peer)
    const gaps = uncovered(this.hops, 0, blockCount)
    if (gaps.length > 0) {
      const servers = await find(signal)
      this.know(servers)
      const planned = this.#plan(servers, maxTokens)
      this.#settle([...this.route, ...planned])
      const entered = planned.map((one) => this.#enter(one, { maxTokens, signal }))
      const opened = await Promise.allSettled(entered)
      for (const one of opened) if (one.status === 'fulfilled') this.hops.push(one.value)
      this.hops.sort((a, b) => a.start - b.start)
      throwFirst(opened)
      this.#forgetInputs()
    } else if (this.#options.naming?.unsettled) this.#settle(this.route)
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
    this.#settle(planned)
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
    this.hops = [...this.hops.filter(stays), ...hops].sort((a, b) => a.start - b.start)
    this.#forgetInputs()
  }

  /** What replay.ts must know of each hop. */
  stations(): Station[] {
    return this.hops.map(({ kv, inputs, relay }) => {
      return { kv, from: inputs.from, length: inputs.length, relay }
    })
  }

  get route(): RouteHop[] {
    return this.hops.map(({ link, start, end }) => ({ peer: link.peer, start, end }))
  }

  /** What the directory says of servers that a route may be changed to. */
  know(servers: readonly ServerInfo[]): void {
    for (const { peer, quant } of servers) this.#quants.set(toHex(peer), quant)
  }

  /**
   * Tells servers what the session's beginnings are called after its step number `step`, when there
   * are enough new ones.
   * @param at a length that gets a name of its own, now. Default: none
   */
  name(step: number, at = 0, every: number = NAME_EVERY): void {
    const { naming, session, forget } = this.#options
    if (!naming || forget || step < 0) return
    for (const hop of this.hops) {
      if ((at === 0 && hop.kv - hop.named < every) || hop.link.closed) continue
      const { link, start, end } = hop
      const names = naming.keep({ peer: link.key, start, end }, hop.named, hop.kv, at)
      hop.named = hop.kv
      if (names) link.keep({ session, step, ...names })
    }
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

  /** @param step the session's last */
  close(step: number): void {
    this.name(step, 0, 1)
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

  /** Who takes the blocks that have no server; lets hops go that another cut does without. */
  #plan(servers: readonly ServerInfo[], tokens: number): readonly RouteHop[] {
    const { book, clock, blockCount } = this.#options
    const candidates = servers.map((info) => book.candidate(info))
    const failed = book.avoidedInOrder(clock.now())
    const plan = planGaps(this.route, candidates, { blockCount, tokens, failed })
    for (const hop of plan.leave) this.drop(hop.peer)
    if (failed.length > 0) this.#warmUp(candidates, plan.enter)
    return plan.enter
  }

  /**
   * Reaches for others that serve the same, so that they are there if those that are entered are
   * not.
   */
  #warmUp(candidates: readonly Candidate[], entered: readonly RouteHop[]): void {
    const { connections, book, clock, openMs } = this.#options
    const late = new Map(book.avoidedInOrder(clock.now()).map((peer, at) => [peer, at + 1]))
    const spares = candidates
      .filter(({ peer, start, end }) => {
        const serves = entered.some((hop) => start < hop.end && end > hop.start)
        return serves && !this.has(peer) && !entered.some((hop) => hop.peer === peer)
      })
      .sort((a, b) => (late.get(a.peer) ?? 0) - (late.get(b.peer) ?? 0))
    const { signal } = new AbortController()
    for (const { peer } of spares.slice(0, MOST_SPARES)) {
      // Whether it can be reached shows when it is needed.
      connections.connect(peer, signal, openMs).catch(() => {})
    }
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
      const { start, end } = planned
      const prefix = this.#options.naming?.ask({ peer: link.key, start, end }) ?? []
      const kv = await this.#promise(link, planned, { ...opening, openMs, prefix })
      this.#tried.delete(planned.peer)
      const inputs = this.inputs(start)
      const quant = this.#quantOf(link.peer)
      return { link, start, end, inputs, quant, kv, named: 0, promised: maxTokens, relay: false }
    } catch (error) {
      // It may yet open what nobody waits for any more.
      if (link && !link.closed) link.closeSession({ session: this.#options.session })
      const why = error instanceof HopFailure ? error.error : toAppError(error)
      if (why.code === 'TIMEOUT') link?.destroy?.(why)
      if (error instanceof HopFailure) throw error
      throw new HopFailure(planned.peer, toAppError(error), { blocks: planned })
    }
  }

  /**
   * Opens the session on a server, or changes what it promised; positions that it holds already.
   */
  async #promise(link: ClientLink, range: BlockSpan, opening: Opening): Promise<number> {
    const { maxTokens, signal, openMs = this.#options.openMs, prefix = [] } = opening
    const waiting = Promise.withResolvers<SessionOpened>()
    this.#opening.set(link.peer, waiting)
    try {
      const { model, session, clock, book, forget } = this.#options
      const { start, end } = range
      const sentAt = clock.now()
      const asked = prefix.length > 0 ? { prefix } : {}
      const message = { session, model, start, end, maxTokens, ...asked }
      link.open(forget ? { ...message, forget } : message)
      const opened = deadline(waiting.promise, openMs, { clock, signal, what: 'Opening a session' })
      const { held = 0 } = await opened
      book.noteRtt(link.peer, clock.now() - sentAt)
      if (held === 0 || prefix.some((mark) => mark.length === held)) return held
      throw protocolError(`The server holds ${held} tokens that it was not asked for`)
    } catch (error) {
      throw new HopFailure(link.peer, toAppError(error))
    } finally {
      this.#opening.delete(link.peer)
    }
  }

  /**
   * The route is about to be this: what it makes has other names, where it is computed otherwise.
   */
  #settle(route: readonly RouteHop[]): void {
    const spans = route
      .map(({ peer, start, end }) => ({ peer, start, end, quant: this.#quantOf(peer) }))
      .sort((a, b) => a.start - b.start)
    const reached = (block: number): boolean =>
      this.inputs(block).length > 0 || this.hops.some((hop) => hop.start === block && hop.kv > 0)
    this.#options.naming?.settle(spans, (block) => !reached(block))
  }

  #quantOf(peer: string): string {
    const hop = this.hops.find((one) => one.link.peer === peer)
    return hop?.quant ?? this.#quants.get(peer) ?? 'unknown'
  }

  /** Of boundaries that the route does not have. */
  #forgetInputs(): void {
    const starts = new Set(this.hops.map((hop) => hop.start))
    for (const block of this.#inputs.keys()) {
      if (starts.has(block)) continue
      this.#inputs.delete(block)
      this.#options.naming?.forget(block)
    }
  }

  #leave(hop: Hop): void {
    if (!hop.link.closed) hop.link.closeSession({ session: this.#options.session })
  }
}

function sameBlocks(a: BlockSpan, b: BlockSpan): boolean {
  return a.start === b.start && a.end === b.end
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
