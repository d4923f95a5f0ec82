// Ended sessions whose KV is kept in the engine, by the labels that their clients gave their
// prefixes. Their memory counts as free: they go as soon as live sessions need it. Called by
// prefix-keeper.ts. Knows owners only by name.
import type { BlockSpan } from '../../base/block-span.ts'
import { toHex } from '../../base/bytes.ts'
import type { Clock } from '../../base/clock.ts'
import type { PrefixMark } from '../../wire/types.ts'
import { evict, type Kept, type KeepLimits } from './prefix-policy.ts'
import type { NamedPrefix } from './session-marks.ts'

/** What a prefix was computed by. */
export interface PrefixPlace extends BlockSpan {
  /** Names its adapters and what each counts; empty without any. */
  readonly adapters: string
}

export interface KeptPrefix extends Kept, PrefixPlace {
  /** Monotonic ms: when its session ended, or when it was last used. */
  usedAt: number
  /** Number of the engine's session. */
  readonly session: number
  /** Positions that are valid. */
  readonly length: number
  readonly marks: readonly NamedPrefix[]
  /** The greatest length that the session ever had. */
  readonly peak: number
}

/** A kept prefix that matches a request, and how many of its tokens match. */
export interface Hit {
  readonly kept: KeptPrefix
  readonly length: number
  /** Matched by a name that is shared with everybody. */
  readonly shared: boolean
}

export interface PrefixStoreOptions {
  limits: KeepLimits
  clock: Clock
  /** Frees the engine's session. */
  release: (session: number) => Promise<void>
}

export class PrefixStore {
  readonly #options: PrefixStoreOptions
  readonly #entries = new Set<KeptPrefix>()
  readonly #byLabel = new Map<string, Set<KeptPrefix>>()
  #tokens = 0

  constructor(options: PrefixStoreOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#entries.size
  }

  /** Tokens that its memory could hold. */
  get tokens(): number {
    return this.#tokens
  }

  /**
   * The longest of `marks` that is kept for these blocks and adapters; of several, the one that
   * loses least when it is cut.
   */
  find(marks: readonly PrefixMark[], place: PrefixPlace, mostTokens: number): Hit | undefined {
    let best: Hit | undefined
    for (const { length, label } of marks) {
      if (length > mostTokens || length < (best?.length ?? 1)) continue
      const name = toHex(label)
      for (const kept of this.#byLabel.get(name) ?? []) {
        if (kept.start !== place.start || kept.end !== place.end) continue
        if (kept.adapters !== place.adapters) continue
        const named = kept.marks.find((one) => one.label === name && one.length === length)
        if (!named || (best?.length === length && best.kept.length <= kept.length)) continue
        best = { kept, length, shared: named.shared }
      }
    }
    return best
  }

  /** Removes it: the caller owns its session now. */
  take(kept: KeptPrefix): void {
    if (!this.#entries.delete(kept)) return
    this.#tokens -= kept.tokens
    for (const { label } of kept.marks) {
      const named = this.#byLabel.get(label)
      named?.delete(kept)
      if (named?.size === 0) this.#byLabel.delete(label)
    }
  }

  /** Keeps a session, or frees it if there is no room. */
  async put(kept: KeptPrefix, roomTokens: number): Promise<void> {
    this.#add(kept)
    await this.shrink(roomTokens)
  }

  /** Frees what is too old and what no longer fits beside live sessions, but never `spare`. */
  async shrink(roomTokens: number, spare?: KeptPrefix): Promise<void> {
    const { limits, clock } = this.#options
    const entries = [...this.#entries].filter((one) => one !== spare)
    const room = roomTokens - (spare?.tokens ?? 0)
    await this.#free(evict(entries, { limits, roomTokens: room, now: clock.now() }))
  }

  /** Frees the prefix that is worth least; false if none is kept. */
  async freeOne(): Promise<boolean> {
    const { limits, clock } = this.#options
    const entries = [...this.#entries]
    const [least] = evict(entries, { limits, roomTokens: -1, now: clock.now() })
    if (least) await this.#free([least])
    return least !== undefined
  }

  /** Frees everything that begins with any of `marks`, except what is shared with everybody. */
  async forget(marks: readonly PrefixMark[]): Promise<void> {
    const names = new Set(marks.map(({ label }) => toHex(label)))
    const gone = [...this.#entries].filter((kept) =>
      kept.marks.some(({ label, shared }) => !shared && names.has(label))
    )
    await this.#free(gone)
  }

  async forgetAdapter(name: string): Promise<void> {
    await this.#free([...this.#entries].filter(({ adapters }) => adapters.includes(name)))
  }

  async clear(): Promise<void> {
    await this.#free([...this.#entries])
  }

  #add(kept: KeptPrefix): void {
    this.#entries.add(kept)
    this.#tokens += kept.tokens
    for (const { label } of kept.marks) {
      const named = this.#byLabel.get(label) ?? new Set()
      this.#byLabel.set(label, named.add(kept))
    }
  }

  async #free(entries: readonly KeptPrefix[]): Promise<void> {
    for (const kept of entries) this.take(kept)
    await Promise.all(entries.map((kept) => this.#options.release(kept.session)))
  }
}
