// Keeps every block of a session served: plans which servers take blocks without one, opens the
// session there, changes to better routes, and tells servers the names of prefixes. Called by
// session.ts, which sends steps through the chain. Knows no steps.
//
// cover -> planGaps (which servers) -> Opener.enter (connect, open) -> Chain.add
import type { BlockSpan } from '../../base/block-span.ts'
import { toHex } from '../../base/bytes.ts'
import type { ServerInfo } from '../../wire/types.ts'
import { hasLeft, roundingOf, type Hop } from '../route/hop.ts'
import { planGaps } from '../route/plan-gaps.ts'
import { uncovered, type Candidate, type RouteHop } from '../route/route.ts'
import type { Chain } from './chain.ts'
import { HopFailure } from './hop-failure.ts'
import { Opener, type Opening, type OpenerOptions } from './opener.ts'
import type { PrefixNaming } from './prefix-naming.ts'

export interface RouteKeeperOptions extends OpenerOptions {
  chain: Chain
  /** Current servers of the model in the directory. */
  find: (signal: AbortSignal) => Promise<readonly ServerInfo[]>
  blockCount: number
  /** Names of prefixes that servers may keep and be asked for. Default: none. */
  naming?: PrefixNaming | undefined
  /**
   * Servers of this arithmetic are preferred. Default: that of the first server of the first route.
   */
  arithmetic?: string | undefined
  /** Called when a server of another arithmetic enters the chain. */
  oncrossing?: (peer: string, arithmetic: string | undefined) => void
}

/**
 * Spare servers to connect to beside those that are entered, and so many more for each that failed:
 * where many were killed at once their records are there for a minute, and one dead server after
 * another would cost 2.5 s each.
 */
const SPARES = 3
const MOST_SPARES = 12
/** Servers that have not opened the session by then may be gone, ms. */
const SPARES_AFTER_MS = 600
/**
 * Time limit, ms: a voluntary move must not delay a step for long, and the servers are connected
 * already.
 */
const CHANGE_MS = 3_000
/** New tokens after which servers are told the names of new prefixes. */
const NAME_EVERY = 64

/** What determines the bits of a server's rows, as it describes itself. */
type Rounds = Pick<ServerInfo, 'quant' | 'arithmetic'>

export class RouteKeeper {
  readonly opener: Opener
  readonly #options: RouteKeeperOptions
  readonly #chain: Chain
  #naming: PrefixNaming | undefined
  readonly #rounds = new Map<string, Rounds>()
  /** Arithmetic of the session; null: that of servers that name none. */
  #arithmetic: string | null | undefined

  constructor(options: RouteKeeperOptions) {
    this.#options = options
    this.#chain = options.chain
    this.#naming = options.naming
    this.#arithmetic = options.arithmetic
    this.opener = new Opener(options)
  }

  /**
   * Makes every block served and every server promise `maxTokens`.
   * @throws AppError NO_ROUTE, or HopFailure naming a server that refused
   */
  async cover(maxTokens: number, signal: AbortSignal): Promise<void> {
    const { blockCount, find, clock } = this.#options
    const chain = this.#chain
    // A server that has moved may be needed at its new place.
    for (const hop of chain.hops.filter(hasLeft)) this.drop(hop.link.peer)
    const gaps = uncovered(chain.hops, 0, blockCount)
    if (gaps.length > 0) {
      const servers = await find(signal)
      this.know(servers)
      const { enter: planned, spares, afterMs } = this.#plan(servers, maxTokens)
      this.#settle([...chain.route, ...planned])
      const stop = clock.after(afterMs, () => this.opener.warmUp(spares), true)
      const entered = planned.map((one) => this.#enter(one, { maxTokens, signal }))
      const opened = await Promise.allSettled(entered)
      stop()
      chain.add(opened.flatMap((one) => (one.status === 'fulfilled' ? one.value : [])))
      throwFirst(opened)
      this.#forgetInputs()
    } else if (this.#naming?.unsettled) this.#settle(chain.route)
    const short = chain.hops.filter((hop) => hop.promised < maxTokens)
    await Promise.all(short.map((hop) => this.opener.extend(hop.link, hop, { maxTokens, signal })))
    for (const hop of short) hop.promised = maxTokens
  }

  /**
   * Changes to a planned route: opens what is new in it, then releases what is not in it.
   * @throws HopFailure naming a server that refused; everything else is then as before
   */
  async change(
    planned: readonly RouteHop[],
    maxTokens: number,
    signal: AbortSignal
  ): Promise<void> {
    const chain = this.#chain
    const isKept = (one: RouteHop): boolean =>
      chain.hops.some((hop) => hop.link.peer === one.peer && sameBlocks(one, hop))
    const fresh = planned.filter((one) => !isKept(one))
    // A server has a session open only once, over one range.
    for (const { peer } of fresh) this.drop(peer)
    this.#settle(planned)
    const opening = { maxTokens, signal, openMs: CHANGE_MS }
    const opened = await Promise.allSettled(fresh.map((one) => this.#enter(one, opening)))
    const failed = opened.find((one) => one.status === 'rejected')
    const hops = opened.flatMap((one) => (one.status === 'fulfilled' ? one.value : []))
    if (failed) {
      for (const hop of hops) this.#leave(hop)
      throw failed.reason
    }
    for (const { peer } of chain.route) {
      if (!planned.some((one) => one.peer === peer)) this.drop(peer)
    }
    chain.add(hops)
    this.#forgetInputs()
  }

  /** The directory's servers to which a route may change. */
  know(servers: readonly ServerInfo[]): void {
    for (const { peer, quant, arithmetic } of servers) {
      this.#rounds.set(toHex(peer), arithmetic === undefined ? { quant } : { quant, arithmetic })
    }
  }

  /**
   * Tells servers the names of the session's prefixes after step `step`, if there are enough new
   * ones.
   * @param at a length that gets a name of its own, now. Default: none
   */
  name(step: number, at = 0, every: number = NAME_EVERY): void {
    const { session, forget } = this.#options
    const naming = this.#naming
    if (!naming || forget || step < 0) return
    for (const hop of this.#chain.hops) {
      if ((at === 0 && hop.kv - hop.named < every) || hop.link.closed) continue
      const { link, start, end } = hop
      const names = naming.keep({ peer: link.key, start, end }, hop.named, hop.kv, at)
      hop.named = hop.kv
      if (names) link.keep({ session, step, ...names })
    }
  }

  /** Nothing of the session is named from here on. */
  stopNaming(): void {
    this.#naming = undefined
  }

  /** Removes a server from the chain; what it was sent is kept. */
  drop(peer: string): void {
    const hop = this.#chain.remove(peer)
    if (hop) this.#leave(hop)
  }

  /** @param step the session's last step */
  close(step: number): void {
    this.name(step, 0, 1)
    for (const hop of this.#chain.hops) this.#leave(hop)
    this.#chain.clear()
  }

  /**
   * Which servers take the blocks without one, which others to connect to, and when. Releases hops
   * that another split does without.
   */
  #plan(
    servers: readonly ServerInfo[],
    tokens: number
  ): { enter: readonly RouteHop[]; spares: readonly string[]; afterMs: number } {
    const { book, clock, blockCount } = this.#options
    const candidates = servers.map((info) => book.candidate(info))
    const failed = book.avoidedInOrder(clock.now())
    const arithmetic = this.#arithmetic
    const plan = planGaps(this.#chain.route, candidates, { blockCount, tokens, failed, arithmetic })
    for (const hop of plan.leave) this.drop(hop.peer)
    const { enter } = plan
    const spares = this.#spares(candidates, enter, failed)
    return { enter, spares, afterMs: failed.length > 0 ? 0 : SPARES_AFTER_MS }
  }

  /** Other servers of the same blocks, in case those that are entered fail. */
  #spares(
    candidates: readonly Candidate[],
    entered: readonly RouteHop[],
    failed: readonly string[]
  ): readonly string[] {
    const late = new Map(failed.map((peer, at) => [peer, at + 1]))
    return candidates
      .filter(({ peer, start, end }) => {
        const serves = entered.some((hop) => start < hop.end && end > hop.start)
        return serves && !this.#chain.has(peer) && !entered.some((hop) => hop.peer === peer)
      })
      .sort((a, b) => (late.get(a.peer) ?? 0) - (late.get(b.peer) ?? 0))
      .slice(0, Math.min(MOST_SPARES, SPARES * (1 + failed.length)))
      .map(({ peer }) => peer)
  }

  async #enter(planned: RouteHop, opening: Omit<Opening, 'prefix'>): Promise<Hop> {
    const { start, end } = planned
    const naming = this.#naming
    const { link, held } = await this.opener.enter(planned, {
      ...opening,
      prefix: ({ key }) => naming?.ask({ peer: key, start, end }) ?? []
    })
    this.#noteArithmetic(planned.peer)
    return {
      link,
      start,
      end,
      inputs: this.#chain.inputs(start),
      rounding: this.#roundingOf(planned.peer),
      kv: held,
      named: 0,
      promised: opening.maxTokens,
      relay: false
    }
  }

  #noteArithmetic(peer: string): void {
    const { arithmetic } = this.#rounds.get(peer) ?? {}
    this.#arithmetic ??= arithmetic ?? null
    if (this.#arithmetic !== (arithmetic ?? null)) this.#options.oncrossing?.(peer, arithmetic)
  }

  /** The route is about to change: what is computed by other servers gets other names. */
  #settle(route: readonly RouteHop[]): void {
    const chain = this.#chain
    const hops = route
      .map(({ peer, start, end }) => ({ peer, start, end, rounding: this.#roundingOf(peer) }))
      .sort((a, b) => a.start - b.start)
    const reached = (block: number): boolean =>
      chain.inputs(block).length > 0 || chain.hops.some((hop) => hop.start === block && hop.kv > 0)
    this.#naming?.settle(hops, (block) => !reached(block))
  }

  #roundingOf(peer: string): string {
    const hop = this.#chain.hops.find((one) => one.link.peer === peer)
    const known = this.#rounds.get(peer)
    return hop?.rounding ?? (known ? roundingOf(known) : 'unknown')
  }

  #forgetInputs(): void {
    for (const block of this.#chain.forgetInputs()) this.#naming?.forget(block)
  }

  #leave(hop: Hop): void {
    if (!hop.link.closed) hop.link.closeSession({ session: this.#options.session })
  }
}

function sameBlocks(a: BlockSpan, b: BlockSpan): boolean {
  return a.start === b.start && a.end === b.end
}

/** @throws the first failure, with those that happened at the same time */
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
