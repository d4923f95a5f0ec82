// What a session tells each of its servers about prefixes of its text: names to look for when it is
// opened, and names under which to keep it when it ends. Called by route-keeper.ts and opener.ts.
// Knows no links; prefix.ts makes the names.
import type { Hop as WireHop, PrefixMark, WireDtype } from '../../wire/types.ts'
import { publishedLabel } from '../../wire/published-label.ts'
import { LEAST, lineageOf, PrefixNames, type RoundingHop } from './prefix.ts'

/** A prompt whose maker lets others use what servers computed of it. */
export interface Published {
  /** Public key of its maker, 32 bytes. */
  readonly maker: Uint8Array
  /** Its length in tokens. */
  readonly length: number
  /** Whether this client is the maker. */
  readonly make: boolean
}

export interface NamingOptions {
  /** 32 secret bytes: whoever has them can use what is kept. */
  secret: Uint8Array
  /** Content id of the model. */
  model: Uint8Array
  dtype: WireDtype
  published?: Published | undefined
  /** Ids that end an answer. Default: none. */
  stops?: ReadonlySet<number> | undefined
}

export class PrefixNaming {
  readonly #own: PrefixNames
  readonly #public: PrefixNames | undefined
  readonly #published: Published | undefined
  readonly #stops: ReadonlySet<number>
  /** By block: what all its input rows have passed through; undefined: it differs between rows. */
  readonly #lineages = new Map<number, string | undefined>()

  constructor(options: NamingOptions) {
    const { secret, model, dtype, published, stops = new Set() } = options
    this.#stops = stops
    this.#own = new PrefixNames({ key: secret, model, dtype })
    this.#published = published
    if (published) this.#public = new PrefixNames({ key: published.maker, model, dtype })
  }

  /** Whether settle() must be called. */
  get unsettled(): boolean {
    return this.#lineages.size === 0
  }

  /** Ids of positions from `start` on. Text without ids has no names from there on. */
  write(start: number, ids: readonly number[] | undefined): void {
    if (start === 0) this.#lineages.clear()
    for (const names of [this.#own, this.#public]) {
      names?.truncate(start)
      if (ids && names?.length === start) names.write(start, ids)
    }
  }

  /**
   * Sets the route. Rows that a span received from other servers stay as they are; what it computes
   * of a mixture has no name.
   * @param fresh whether nothing has been sent into a block yet
   */
  settle(route: readonly RoundingHop[], fresh: (block: number) => boolean): void {
    for (const [i, { start }] of route.entries()) {
      const lineage = lineageOf(route.slice(0, i))
      const known = this.#lineages.has(start) && !fresh(start)
      if (!known) this.#lineages.set(start, lineage)
      else if (this.#lineages.get(start) !== lineage) this.#lineages.set(start, undefined)
    }
  }

  /** Inputs of this block were dropped: another span may start there later. */
  forget(block: number): void {
    this.#lineages.delete(block)
  }

  /** Names under which a server may have kept a prefix of this session. */
  ask(span: WireHop): PrefixMark[] {
    const lineage = this.#lineages.get(span.start)
    if (lineage === undefined) return []
    const place = { ...span, lineage }
    const ends = this.#own.ends(this.#stops).map((length) => this.#own.mark(place, length))
    const marks = [...this.#own.marks(place, 0, this.#own.length), ...ends]
    const [published, names] = [this.#published, this.#public]
    if (!published || !names || names.length < published.length) return marks
    const { length, label } = names.mark(place, published.length)
    return [...marks, { length, label: publishedLabel(published.maker, label) }]
  }

  /**
   * Names of prefixes longer than `over` tokens, up to `most`; undefined if there are none.
   * @param at a length that always gets a name
   */
  keep(
    span: WireHop,
    over: number,
    most: number,
    at = 0
  ): { marks: PrefixMark[]; shared?: PrefixMark[] } | undefined {
    const lineage = this.#lineages.get(span.start)
    if (lineage === undefined) return undefined
    const place = { ...span, lineage }
    const marks = this.#own.marks(place, over, most)
    if (at >= LEAST && at <= Math.min(most, this.#own.length)) marks.push(this.#own.mark(place, at))
    const { length = Infinity, make = false } = this.#published ?? {}
    const due = make && over < length && length <= Math.min(most, this.#public?.length ?? 0)
    const shared = due ? this.#public?.mark(place, length) : undefined
    if (marks.length === 0 && !shared) return undefined
    return shared ? { marks, shared: [shared] } : { marks }
  }
}
