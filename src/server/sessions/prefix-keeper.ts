// Keeps what ended sessions leave in the engine, and gives it to sessions that begin the same. What is
// kept lives in the room that live sessions leave: it is freed when they are promised it, and when the
// engine, whose caches grow beyond promises, runs out of memory all the same.
// Called by session-keeper.ts; its step() stands before the engine's. Knows no connections.
import type { BlockSpan } from '../../base/block-span.ts'
import type { Clock } from '../../base/clock.ts'
import { toAppError } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import { EXTRA_ROWS } from '../../blocks/graph/attention.ts'
import { capacityFor } from '../../blocks/engine/kv-cache.ts'
import type { ComputeApi, SpanInfo, StepInput, StepOutput } from '../../blocks/types.ts'
import type { OpenSession } from '../../wire/types.ts'
import { originOf } from '../links.ts'
import { handOut, LEAST_PREFIX, type KeepLimits } from './prefix-policy.ts'
import { PrefixStore, type Hit, type KeptPrefix } from './prefix-store.ts'
import type { NamedPrefix } from './session-marks.ts'
import type { ServedSession } from './sessions.ts'

export interface PrefixKeeperOptions {
  compute: ComputeApi
  span: SpanInfo
  /** KV tokens that live sessions and kept prefixes together may hold. */
  capacityTokens: number
  /** Default: see defaultKeepLimits; of 0 tokens: nothing is kept. */
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
  /** Longest length that it ever had. */
  readonly peak: number
}

/** Half of the room, so that what everybody asks for is not all that lives; an hour, as chats pause. */
export function defaultKeepLimits(capacityTokens: number): KeepLimits {
  return {
    tokens: Math.floor(capacityTokens / 2),
    entries: 128,
    entriesPerOwner: 32,
    ttlMs: 60 * 60_000
  }
}

export class PrefixKeeper {
  /** Sessions that got what was kept, and tokens that they need not send. */
  hits = 0
  hitTokens = 0
  readonly #options: PrefixKeeperOptions
  readonly #limits: KeepLimits
  readonly #store: PrefixStore
  /** Steps under way by the engine's session: what ends while one runs is kept after it. */
  readonly #running = new Map<number, Promise<unknown>>()

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

  /** A session with nothing in it. @throws AppError NO_MEMORY */
  async openEmpty(range: BlockSpan): Promise<number> {
    const { compute, span } = this.#options
    return this.#withRoom(() => compute.openSession(span.span, range))
  }

  /** What is kept for a session, taken out or copied; undefined: it begins with nothing. */
  async begin(message: OpenSession): Promise<Beginning | undefined> {
    const { prefix = [], maxTokens, forget } = message
    const hit = this.#store.find(prefix, message, maxTokens)
    const begun = hit && (await this.#handOut(hit))
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

  /** A session that ended: kept when its client named it, else freed. */
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
      length,
      marks: marks.all,
      owner: served.owner.peer,
      origin: originOf(served.owner),
      tokens: this.#tokensOf(marks.peak),
      peak: marks.peak,
      usedAt: this.#options.clock.now()
    }
    // A step that is being stopped may yet be heard of, and would cut who has the session then.
    await this.#running.get(session)
    await this.#store.put(kept, this.#roomTokens)
  }

  /** One of the engine's steps; out of memory, it gets that of what is kept. */
  async step(input: StepInput, signal?: AbortSignal): Promise<StepOutput> {
    const stepping = this.#step(input, signal)
    const settled = stepping.then(
      () => {},
      () => {}
    )
    this.#running.set(input.session, settled)
    try {
      return await stepping
    } finally {
      if (this.#running.get(input.session) === settled) this.#running.delete(input.session)
    }
  }

  async close(): Promise<void> {
    await this.#store.clear()
  }

  get #roomTokens(): number {
    return this.#options.capacityTokens - this.#options.promised()
  }

  async #step(input: StepInput, signal: AbortSignal | undefined): Promise<StepOutput> {
    const { compute } = this.#options
    // Rows go to the engine for good, so a second try needs its own.
    const again = (): StepInput => ({ ...input, hidden: input.hidden.slice() })
    return this.#withRoom((last) => compute.step(last ? input : again(), signal))
  }

  /** Does what may need memory; out of it, it gets that of what is kept, one by one. */
  async #withRoom<T>(act: (last: boolean) => Promise<T>): Promise<T> {
    for (;;) {
      if (this.#store.size === 0) return act(true)
      try {
        return await act(false)
      } catch (error) {
        if (toAppError(error).code !== 'NO_MEMORY' || !(await this.#store.freeOne())) throw error
      }
    }
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
    const { kept, length, shared } = hit
    kept.usedAt = this.#options.clock.now()
    // Its own names are its owner's: whoever only knows what is published learns nothing of them.
    const marks = shared ? [] : kept.marks.filter((mark) => mark.length <= length)
    try {
      // Room first: the engine does things in the order they are asked for.
      const freed = this.#store.shrink(this.#roomTokens, kept)
      const session = await this.#options.compute.forkSession(kept.session, length)
      await freed
      return { session, length, marks, peak: length }
    } catch (error) {
      this.#options.log.debug(`a kept prefix was not copied: ${toAppError(error).message}`)
      return undefined
    }
  }

  #tokensOf(length: number): number {
    return capacityFor(length + EXTRA_ROWS, 0, this.#options.span.maxTokens + EXTRA_ROWS)
  }
}
