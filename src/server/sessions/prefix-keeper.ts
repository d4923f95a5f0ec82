// Keeps the KV of ended sessions in the engine and hands it to sessions that begin the same way;
// of sessions that still run it hands out copies.
// Kept prefixes use memory that live sessions leave free. They are freed when live sessions are
// promised that memory, and when the engine runs out of memory all the same, since caches grow
// beyond promises (last-resort.ts). Called by session-keeper.ts. Knows no connections and no steps.
import type { BlockSpan } from '../../base/block-span.ts'
import type { Clock } from '../../base/clock.ts'
import { toAppError } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { ComputeApi, SpanInfo } from '../../blocks/types.ts'
import type { OpenSession } from '../../wire/types.ts'
import { adaptersKey, type HeldAdapters } from '../adapters/adapter-keeper.ts'
import { withRoom } from './last-resort.ts'
import { originOf } from '../links.ts'
import { handOut, LEAST_PREFIX, type KeepLimits } from './prefix-policy.ts'
import { PrefixStore, type Hit, type KeptPrefix } from './prefix-store.ts'
import { longestRunning, type RunningHit, type RunningPrefix } from './running-prefix.ts'
import type { NamedPrefix } from './session-marks.ts'
import type { ServedSession } from './sessions.ts'

export interface PrefixKeeperOptions {
  compute: ComputeApi
  span: SpanInfo
  /** KV tokens that live sessions and kept prefixes may hold together. */
  capacityTokens: number
  /** Default: see defaultKeepLimits; 0 tokens: nothing is kept. */
  limits?: Partial<KeepLimits> | undefined
  /** Tokens promised to live sessions. */
  promised: () => number
  clock: Clock
  log: Log
}

/** What a session begins with. */
export interface Beginning {
  /** Number of the engine's session. */
  readonly session: number
  /** Positions that it holds. */
  readonly length: number
  readonly marks: readonly NamedPrefix[]
  /** The greatest length that it ever had. */
  readonly peak: number
}

/**
 * Half of the memory, so that live sessions find some that is free at once. One hour, because chats
 * pause.
 */
export function defaultKeepLimits(capacityTokens: number): KeepLimits {
  return {
    tokens: Math.floor(capacityTokens / 2),
    entries: 128,
    entriesPerOwner: 32,
    ttlMs: 60 * 60_000
  }
}

export class PrefixKeeper {
  /** Sessions that began with a kept prefix, and the tokens that they did not have to send. */
  hits = 0
  hitTokens = 0
  readonly #options: PrefixKeeperOptions
  readonly #limits: KeepLimits
  readonly #store: PrefixStore

  constructor(options: PrefixKeeperOptions) {
    const { compute, capacityTokens, clock, limits = {} } = options
    this.#options = options
    this.#limits = { ...defaultKeepLimits(capacityTokens), ...limits }
    this.#store = new PrefixStore({
      limits: this.#limits,
      clock,
      release: (session) => compute.closeSession(session)
    })
  }

  get kept(): { prefixes: number; tokens: number } {
    return { prefixes: this.#store.size, tokens: this.#store.tokens }
  }

  /** Opens an empty session in the engine. @throws AppError NO_MEMORY */
  async openEmpty(range: BlockSpan, held?: HeldAdapters): Promise<number> {
    const { compute, span } = this.#options
    return withRoom(
      () => this.freeOne(),
      () => compute.openSession(span.span, range, held?.adapters)
    )
  }

  /**
   * The kept prefix for a session, moved or copied, or a copy of what one of `running` holds, if
   * that is longer; undefined: it begins empty.
   */
  async begin(
    message: OpenSession,
    running: readonly RunningPrefix[] = []
  ): Promise<Beginning | undefined> {
    const { prefix = [], maxTokens, forget } = message
    const { start, end } = message
    const place = { start, end, adapters: adaptersKey(message.adapters) }
    const hit = this.#store.find(prefix, place, maxTokens)
    const live = longestRunning(prefix, { range: place, mostTokens: maxTokens, running })
    const isLonger = live !== undefined && live.length > (hit?.length ?? 0)
    const begun = isLonger ? await this.#fork(live) : hit && (await this.#handOut(hit))
    if (forget) await this.#store.forget(prefix)
    if (begun) {
      this.hits++
      this.hitTokens += begun.length
    }
    return begun
  }

  /** Frees what no longer fits beside live sessions, and what is too old. */
  async makeRoom(): Promise<void> {
    await this.#store.shrink(this.#roomTokens)
  }

  /** Keeps an ended session if its client named prefixes of it; otherwise frees it. */
  async end(served: ServedSession): Promise<void> {
    const { compute: session, marks, forget, start, end } = served
    if (session === undefined) return
    const length = Math.max(0, ...marks.all.map((mark) => mark.length))
    if (forget || length < LEAST_PREFIX || this.#limits.tokens === 0) {
      return this.#options.compute.closeSession(session)
    }
    const kept: KeptPrefix = {
      session,
      start,
      end,
      adapters: served.adaptersKey,
      length,
      marks: marks.all,
      owner: served.owner.peer,
      origin: originOf(served.owner),
      tokens: this.#tokensOf(marks.peak),
      peak: marks.peak,
      usedAt: this.#options.clock.now()
    }
    await this.#store.put(kept, this.#roomTokens)
  }

  /** Frees what was computed with an adapter, by its id in hex. */
  async forgetAdapter(name: string): Promise<void> {
    await this.#store.forgetAdapter(name)
  }

  /** Frees the prefix that is worth least; false if none is kept. */
  async freeOne(): Promise<boolean> {
    return this.#store.freeOne()
  }

  async close(): Promise<void> {
    await this.#store.clear()
  }

  get #roomTokens(): number {
    return this.#options.capacityTokens - this.#options.promised()
  }

  async #handOut(hit: Hit): Promise<Beginning | undefined> {
    const { kept, shared } = hit
    const published = shared || kept.marks.some((mark) => mark.shared)
    const how = handOut({ length: kept.length, published }, hit.length)
    return how === 'move' ? this.#move(hit) : this.#copy(hit)
  }

  #move(hit: Hit): Beginning {
    const { kept, length } = hit
    this.#store.take(kept)
    const marks = kept.marks.filter((mark) => mark.length <= length)
    return { session: kept.session, length, marks, peak: kept.peak }
  }

  async #copy(hit: Hit): Promise<Beginning | undefined> {
    const { kept } = hit
    kept.usedAt = this.#options.clock.now()
    return this.#fork({ ...hit, session: kept.session, marks: kept.marks }, kept)
  }

  /** @param spare what is not freed for it */
  async #fork(
    { session, marks, length, shared }: RunningHit,
    spare?: KeptPrefix
  ): Promise<Beginning | undefined> {
    // The session's own names belong to its owner: a peer that knows only the shared name must not
    // learn them.
    const own = shared ? [] : marks.filter((mark) => mark.length <= length)
    try {
      // Free memory first: the engine works in the order of requests.
      const freed = this.#store.shrink(this.#roomTokens, spare)
      const forked = await this.#options.compute.forkSession(session, length)
      await freed
      return { session: forked, length, marks: own, peak: length }
    } catch (error) {
      this.#options.log.debug(`a prefix was not copied: ${toAppError(error).message}`)
      return undefined
    }
  }

  #tokensOf(length: number): number {
    const { kvPageTokens } = this.#options.span
    return Math.ceil(length / kvPageTokens) * kvPageTokens
  }
}
