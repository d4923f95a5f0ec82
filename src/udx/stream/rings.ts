// Sequence-indexed rings: packets that were sent and are not acknowledged, and packets that came
// ahead of their turn. Struct of arrays over seq & mask, so that the hot path makes no objects.
// Knows nothing of time, congestion or sockets; the indices are u32 sequence numbers throughout.

import type { Slot } from './slots.ts'
import { seqAdd, seqDiff } from '../wire.ts'

/** Where packets go: a remote endpoint with the id it gave its stream. Never mutated. */
export interface Route {
  readonly remoteId: number
  readonly host: string
  readonly port: number
  readonly overhead: number
}

/** In flight, neither acknowledged nor lost. 0 means acknowledged or never used. */
export const STATE_SENT = 1
/** Declared lost, waiting to be sent again. */
export const STATE_LOST = 2

export const MARK_RETRANSMITTED = 1
/** Carries MTU padding at this moment. */
export const MARK_PROBE = 2
/** Was declared lost at least once. */
export const MARK_LOST = 4

const INITIAL_CAPACITY = 64
/** More packets than a 4 MiB window of the smallest legal packets can need. */
export const MAX_WINDOW_PACKETS = 16384

/** Sent packets between `una` (oldest not acknowledged) and `nxt` (next to be numbered). */
export class SentRing {
  una: number
  nxt: number
  mask: number = INITIAL_CAPACITY - 1
  state: Uint8Array = new Uint8Array(INITIAL_CAPACITY)
  marks: Uint8Array = new Uint8Array(INITIAL_CAPACITY)
  /** Retransmission timeouts that this packet has gone through. */
  timeouts: Uint8Array = new Uint8Array(INITIAL_CAPACITY)
  /** Payload bytes. */
  sizes: Uint16Array = new Uint16Array(INITIAL_CAPACITY)
  /** Times of the last and the first transmission. */
  sentAt: Float64Array = new Float64Array(INITIAL_CAPACITY)
  firstAt: Float64Array = new Float64Array(INITIAL_CAPACITY)
  /** The state of delivery at the last transmission, see Delivery. */
  delivered: Float64Array = new Float64Array(INITIAL_CAPACITY)
  deliveredAt: Float64Array = new Float64Array(INITIAL_CAPACITY)
  flightAt: Float64Array = new Float64Array(INITIAL_CAPACITY)
  slots: (Slot | null)[] = Array.from({ length: INITIAL_CAPACITY }, () => null)
  routes: (Route | null)[] = Array.from({ length: INITIAL_CAPACITY }, () => null)

  constructor(seq: number) {
    this.una = seq
    this.nxt = seq
  }

  /** Packets between una and nxt, whatever their state. */
  get span(): number {
    return seqDiff(this.nxt, this.una)
  }

  get full(): boolean {
    return this.span >= MAX_WINDOW_PACKETS
  }

  /** Takes the next number; the caller fills the arrays at the returned index. */
  push(): number {
    if (this.span > this.mask) this.#grow()
    const index = this.nxt & this.mask
    this.nxt = seqAdd(this.nxt, 1)
    return index
  }

  #grow(): void {
    const mask = (this.mask + 1) * 2 - 1
    const state = new Uint8Array(mask + 1)
    const marks = new Uint8Array(mask + 1)
    const timeouts = new Uint8Array(mask + 1)
    const sizes = new Uint16Array(mask + 1)
    const sentAt = new Float64Array(mask + 1)
    const firstAt = new Float64Array(mask + 1)
    const delivered = new Float64Array(mask + 1)
    const deliveredAt = new Float64Array(mask + 1)
    const flightAt = new Float64Array(mask + 1)
    const slots: (Slot | null)[] = Array.from({ length: mask + 1 }, () => null)
    const routes: (Route | null)[] = Array.from({ length: mask + 1 }, () => null)
    for (let seq = this.una; seq !== this.nxt; seq = seqAdd(seq, 1)) {
      const from = seq & this.mask
      const to = seq & mask
      state[to] = this.state[from]!
      marks[to] = this.marks[from]!
      timeouts[to] = this.timeouts[from]!
      sizes[to] = this.sizes[from]!
      sentAt[to] = this.sentAt[from]!
      firstAt[to] = this.firstAt[from]!
      delivered[to] = this.delivered[from]!
      deliveredAt[to] = this.deliveredAt[from]!
      flightAt[to] = this.flightAt[from]!
      slots[to] = this.slots[from]!
      routes[to] = this.routes[from]!
    }
    this.mask = mask
    this.state = state
    this.marks = marks
    this.timeouts = timeouts
    this.sizes = sizes
    this.sentAt = sentAt
    this.firstAt = firstAt
    this.delivered = delivered
    this.deliveredAt = deliveredAt
    this.flightAt = flightAt
    this.slots = slots
    this.routes = routes
  }
}

/** Packets received ahead of `nxt`. A null payload is an END without data. */
export class ReceiveRing {
  nxt: number
  /** Highest received + 1, or nxt when nothing waits. */
  high: number
  count = 0
  bytes = 0
  #mask = INITIAL_CAPACITY - 1
  #present = new Uint8Array(INITIAL_CAPACITY)
  #payloads: (Uint8Array | null)[] = Array.from({ length: INITIAL_CAPACITY }, () => null)

  constructor(seq: number) {
    this.nxt = seq
    this.high = seq
  }

  has(seq: number): boolean {
    const distance = seqDiff(seq, this.nxt)
    return distance >= 0 && distance <= this.#mask && this.#present[seq & this.#mask] === 1
  }

  /** Keeps a payload for later. The caller has checked that seq is within the window and new. */
  put(seq: number, payload: Uint8Array | null): void {
    while (seqDiff(seq, this.nxt) > this.#mask) this.#grow()
    const index = seq & this.#mask
    this.#present[index] = 1
    this.#payloads[index] = payload
    this.count++
    if (payload !== null) this.bytes += payload.length
    if (seqDiff(seq, this.high) >= 0) this.high = seqAdd(seq, 1)
  }

  /** Moves past a packet that came in order and was never kept. */
  advance(): void {
    this.nxt = seqAdd(this.nxt, 1)
    if (seqDiff(this.high, this.nxt) < 0) this.high = this.nxt
  }

  /** Takes the packet at nxt when it is here; undefined when it is missing. */
  shift(): Uint8Array | null | undefined {
    const index = this.nxt & this.#mask
    if (this.count === 0 || this.#present[index] === 0) return undefined
    const payload = this.#payloads[index] ?? null
    this.#present[index] = 0
    this.#payloads[index] = null
    this.count--
    if (payload !== null) this.bytes -= payload.length
    this.advance()
    return payload
  }

  /** Writes up to `limit` [start, end) ranges of what waits, ascending, as words; returns pairs. */
  ranges(words: Uint32Array, at: number, limit: number): number {
    let pairs = 0
    let seq = this.nxt
    while (pairs < limit && seq !== this.high) {
      while (seq !== this.high && this.#present[seq & this.#mask] === 0) seq = seqAdd(seq, 1)
      if (seq === this.high) break
      words[at + pairs * 2] = seq
      while (seq !== this.high && this.#present[seq & this.#mask] === 1) seq = seqAdd(seq, 1)
      words[at + pairs * 2 + 1] = seq
      pairs++
    }
    return pairs
  }

  clear(): void {
    this.#payloads.fill(null)
    this.#present.fill(0)
    this.count = 0
    this.bytes = 0
    this.high = this.nxt
  }

  #grow(): void {
    const mask = (this.#mask + 1) * 2 - 1
    const present = new Uint8Array(mask + 1)
    const payloads: (Uint8Array | null)[] = Array.from({ length: mask + 1 }, () => null)
    for (let seq = this.nxt; seq !== this.high; seq = seqAdd(seq, 1)) {
      present[seq & mask] = this.#present[seq & this.#mask]!
      payloads[seq & mask] = this.#payloads[seq & this.#mask] ?? null
    }
    this.#mask = mask
    this.#present = present
    this.#payloads = payloads
  }
}
