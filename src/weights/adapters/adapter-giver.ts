// Gives adapters to peers that ask for them by content id: those of a client's sessions, and those
// that a server was given for everybody. A node has one giver, since a want has one answer. Knows
// no sessions.
import { toAppError, type ErrorCode } from '../../base/errors.ts'
import type { Clock } from '../../base/clock.ts'
import { piecesOf } from '../../wire/pieces.ts'
import { LIMITS } from '../../wire/protocol.ts'
import { WANTS, type Give, type Want } from '../../wire/types.ts'
import type { AdapterPack } from './adapter-pack.ts'

/** The part of a connection that giving uses. */
export interface GiveLink {
  readonly peer: string
  readonly closed: boolean
  /** False if many bytes wait: then drained(). */
  give(message: Give): boolean
  drained(): Promise<void>
}

/** More would only drain the uplink of whoever gives. */
const MOST_TIMES = 64

/** Whether a want is about adapters; others are for the givers of weights. */
export function isAdapterWant({ what }: Pick<Want, 'what'>): boolean {
  const kind = WANTS[what]
  return kind === 'adapter' || kind === 'adapter-part'
}

/** Finds the adapter with an id in hex. */
export type FindAdapter = (id: string) => AdapterPack | undefined

/** What a node's giver needs of the node. */
export interface GivingNode {
  handle(handlers: AdapterGiver['handlers']): () => void
}

const GIVERS = new WeakMap<GivingNode, AdapterGiver>()

/** The giver of a node, which lives as long as the node. */
export function giverOf(node: GivingNode, clock: Clock): AdapterGiver {
  const known = GIVERS.get(node)
  if (known !== undefined) return known
  const giver = new AdapterGiver(clock)
  GIVERS.set(node, giver)
  node.handle(giver.handlers)
  return giver
}

export class AdapterGiver {
  /** Handlers for the links of a node. */
  readonly handlers: {
    onwant(link: GiveLink, want: Want): void
    onclosed(link: GiveLink): void
  }
  readonly #offers = new Set<FindAdapter>()
  readonly #clock: Clock
  /** Wants of each link in order: the first one is being answered. */
  readonly #waiting = new Map<GiveLink, Want[]>()
  /** How often each part was given over a link. */
  readonly #given = new WeakMap<GiveLink, Map<string, number>>()
  /** When each peer was last given something, monotonic ms. */
  readonly #gave = new Map<string, number>()

  constructor(clock: Clock) {
    this.#clock = clock
    this.handlers = {
      onwant: (link, want) => this.#onwant(link, want),
      onclosed: (link) => {
        this.#waiting.delete(link)
        this.#gave.delete(link.peer)
      }
    }
  }

  /** Offers what `find` finds, until the returned function is called. */
  offer(find: FindAdapter): () => void {
    this.#offers.add(find)
    return () => void this.#offers.delete(find)
  }

  /** Whether a peer was given something since then, or is being given something. */
  isGivingTo(peer: string, since: number): boolean {
    if ([...this.#waiting.keys()].some((link) => link.peer === peer)) return true
    return (this.#gave.get(peer) ?? -Infinity) >= since
  }

  #onwant(link: GiveLink, want: Want): void {
    if (!isAdapterWant(want)) return
    const before = this.#waiting.get(link)
    if (before === undefined) {
      this.#waiting.set(link, [want])
      // A link that does not read holds up only itself, and ends with its node.
      void this.#serve(link)
    } else if (before.length >= LIMITS.wants) this.#refuse(link, want, 'BUSY')
    else before.push(want)
  }

  /** Answers one want after the other; never rejects. */
  async #serve(link: GiveLink): Promise<void> {
    for (;;) {
      const want = this.#waiting.get(link)?.[0]
      if (want === undefined || link.closed) break
      try {
        await this.#answer(link, want)
      } catch (error) {
        this.#refuse(link, want, toAppError(error).code)
      }
      this.#waiting.get(link)?.shift()
    }
    this.#waiting.delete(link)
  }

  async #answer(link: GiveLink, want: Want): Promise<void> {
    const { request, what, name, start, count } = want
    let pack: AdapterPack | undefined
    for (const find of this.#offers) pack ??= find(name)
    const isPart = WANTS[what] === 'adapter-part'
    if (pack === undefined || (isPart && start >= pack.manifest.parts.length)) {
      return this.#refuse(link, want, 'NOT_FOUND')
    }
    // An honest server asks again when it has had to make room.
    if (this.#count(link, `${name} ${isPart ? start : ''}`) > MOST_TIMES) {
      return this.#refuse(link, want, 'LIMIT')
    }
    const bytes = isPart ? pack.part(start) : pack.manifestBytes
    if (isPart && count !== bytes.byteLength) return this.#refuse(link, want, 'BAD_INPUT')
    for (const piece of piecesOf(bytes, LIMITS.giveBytes)) {
      if (link.closed) return
      this.#gave.set(link.peer, this.#clock.now())
      if (!link.give({ request, ...piece })) await link.drained()
    }
  }

  #count(link: GiveLink, what: string): number {
    const given = this.#given.get(link) ?? new Map<string, number>()
    this.#given.set(link, given)
    const times = (given.get(what) ?? 0) + 1
    given.set(what, times)
    return times
  }

  #refuse(link: GiveLink, { request }: Want, refused: ErrorCode): void {
    if (link.closed) return
    link.give({ request, left: 0, data: new Uint8Array(0), refused })
  }
}
