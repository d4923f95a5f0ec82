// The links that are open, by peer. Two peers that connect to each other at the same moment have
// two: both work; one and the same is preferred by both ends, and the other goes when nobody uses
// it. Knows no DHT.
import { closed } from '../base/errors.ts'
import type { Clock } from '../base/clock.ts'
import type { PeerLink } from '../wire/link.ts'

/** After this both ends use the preferred link, if they use any. */
const SPARE_MS = 10_000

export class LinkTable {
  readonly #self: string
  readonly #clock: Clock
  readonly #byPeer = new Map<string, PeerLink[]>()
  #size = 0

  constructor(self: string, clock: Clock) {
    this.#self = self
    this.#clock = clock
  }

  get size(): number {
    return this.#size
  }

  *[Symbol.iterator](): Generator<PeerLink> {
    for (const links of this.#byPeer.values()) yield* links
  }

  /** The link to use for a peer: one that has said hello. */
  get(peer: string): PeerLink | undefined {
    const ready = (this.#byPeer.get(peer) ?? []).filter((link) => link.remote && !link.closed)
    return ready.find((link) => this.#isPreferred(link)) ?? ready[0]
  }

  /** Takes a link in; an older one made by the same end is lost to that end, so it goes. */
  add(link: PeerLink): void {
    const links = this.#byPeer.get(link.peer) ?? []
    this.#byPeer.set(link.peer, links)
    links.push(link)
    this.#size++
    // destroy() calls remove(), which changes the list.
    const lost = links.filter((old) => old !== link && old.initiator === link.initiator)
    for (const old of lost) {
      old.destroy(closed('The link was replaced by a newer one of the same peer'))
    }
    if (links.length > 1) this.#retireSpare(link.peer)
  }

  remove(link: PeerLink): void {
    const links = this.#byPeer.get(link.peer) ?? []
    const index = links.indexOf(link)
    if (index === -1) return
    links.splice(index, 1)
    this.#size--
    if (links.length === 0) this.#byPeer.delete(link.peer)
  }

  /** Made by the end with the greater key: both ends can tell. */
  #isPreferred(link: PeerLink): boolean {
    return link.initiator === this.#self > link.peer
  }

  #retireSpare(peer: string): void {
    this.#clock.after(
      SPARE_MS,
      () => {
        const chosen = this.get(peer)
        const links = this.#byPeer.get(peer) ?? []
        const spare = links.filter((link) => link !== chosen && link.remote && !link.used)
        if (chosen) for (const link of spare) link.destroy()
      },
      true
    )
  }
}
