// What a session tells each of its servers about the beginnings of its text: names to look for when
// it is opened there, and names to keep it under when it ends. Called by route-keeper.ts and
// opener.ts. Knows no links; prefix.ts says how names are made.
import type { Hop as WireHop, PrefixMark, WireDtype } from '../../wire/types.ts'
import { publishedLabel } from '../../wire/published-label.ts'
import { LEAST, lineageOf, PrefixNames, type RoundingHop } from './prefix.ts'

/**
 * A prompt that its maker lets others use: they take from a server what the maker had computed
 * there.
 */
export interface Published {
  /** Public key of who made it, 32 bytes. */
  readonly maker: Uint8Array
  /** Tokens of it. */
  readonly length: number
  /** Whether this client is the maker. */
  readonly make: boolean
}

export interface NamingOptions {
  /** 32 secret bytes: who has them can take up what is kept. */
  secret: Uint8Array
  /** The model's content id. */
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
  /** By block: what the rows that go into it went through; undefined: this and that. */
  readonly #lineages = new Map<number, string | undefined>()

  constructor(options: NamingOptions) {
    const { secret, model, dtype, published, stops = new Set() } = options
    this.#stops = stops
    this.#own = new PrefixNames({ key: secret, model, dtype })
    this.#published = published
    if (published) this.#public = new PrefixNames({ key: published.maker, model, dtype })
  }

  /** Whether settle() is due. */
  get unsettled(): boolean {
    return this.#lineages.size === 0
  }

  /** Ids of positions from `start` on; text whose ids are not told has no names from there on. */
  write(start: number, ids: readonly number[] | undefined): void {
    if (start === 0) this.#lineages.clear()
    for (const names of [this.#own, this.#public]) {
      names?.truncate(start)
      if (ids && names?.length === start) names.write(start, ids)
    }
  }

  /**
   * The route is this now. Rows that a span was sent by other servers stay what they were: what it
   * makes of those and of new ones has no name.
   * @param fresh whether nothing has gone into a block yet
   */
  settle(route: readonly RoundingHop[], fresh: (block: number) => boolean): void {
    for (const [i, { start }] of route.entries()) {
      const lineage = lineageOf(route.slice(0, i))
      const known = this.#lineages.has(start) && !fresh(start)
      if (!known) this.#lineages.set(start, lineage)
      else if (this.#lineages.get(start) !== lineage) this.#lineages.set(start, undefined)
    }
  }

  /** Nothing is kept of what went into this block: another span may begin there later. */
  forget(block: number): void {
    this.#lineages.delete(block)
  }

  /** Names under which a server may have what this session begins with. */
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
   * Names of beginnings longer than `over` tokens, up to `most`; undefined when there are none.
   * @param at a length that gets a name in any case
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
