// The streams of one UDX instance by id, and tombstones of those that closed cleanly. When our last
// acknowledgement gets lost, the peer sends its END again; without an answer it would report a
// timeout of a finished stream after 13 s.

import type { Core } from '../stream/core.ts'
import type { Outlet } from '../stream/link.ts'
import type { Route } from '../stream/rings.ts'
import {
  DEFAULT_RWND,
  FLAG_DATA,
  FLAG_END,
  type Header,
  HEADER_BYTES,
  createHeader,
  writeHeader
} from '../wire.ts'

/** A silent peer gives up after 13 s. */
const TOMBSTONE_MS = 15_000
const MAX_TOMBSTONES = 1024

interface Tombstone {
  outlet: Outlet
  route: Route
  seq: number
  ack: number
  expiresAt: number
}

/** Streams by local id. */
export class Registry {
  #streams = new Map<number, Core>()
  #tombstones = new Map<number, Tombstone>()

  add(core: Core): void {
    this.#tombstones.delete(core.id)
    this.#streams.set(core.id, core)
  }

  get(id: number): Core | undefined {
    return this.#streams.get(id)
  }

  /** Forgets a stream; one that closed cleanly leaves a tombstone. */
  remove(core: Core, clean: boolean, now: number): void {
    if (this.#streams.get(core.id) === core) this.#streams.delete(core.id)
    const { outlet, route } = core
    if (!clean || outlet === null || route === null) return
    this.#prune(now)
    this.#tombstones.set(core.id, {
      outlet,
      route,
      seq: core.sender.ring.nxt,
      ack: core.receiver.nxt,
      expiresAt: now + TOMBSTONE_MS
    })
  }

  /** Answers a late packet for a stream that closed cleanly. False when there was none. */
  answer(header: Header, now: number): boolean {
    const stone = this.#tombstones.get(header.id)
    if (stone === undefined || now >= stone.expiresAt) return false
    if ((header.flags & (FLAG_DATA | FLAG_END)) === 0) return true
    const packet = new Uint8Array(HEADER_BYTES)
    const reply = createHeader()
    reply.id = stone.route.remoteId
    reply.rwnd = DEFAULT_RWND
    reply.seq = stone.seq
    reply.ack = stone.ack
    writeHeader(new Uint32Array(packet.buffer), reply)
    stone.outlet.queue(packet, stone.route)
    return true
  }

  /** A socket closed: tombstones that would have answered through it are dropped. */
  dropOutlet(outlet: Outlet): void {
    for (const [id, stone] of this.#tombstones) {
      if (stone.outlet === outlet) this.#tombstones.delete(id)
    }
  }

  // Insertion order is expiry order.
  #prune(now: number): void {
    for (const [id, stone] of this.#tombstones) {
      if (now < stone.expiresAt && this.#tombstones.size < MAX_TOMBSTONES) break
      this.#tombstones.delete(id)
    }
  }
}
