// The receiving half of a stream: order, END, what to acknowledge and how much room is left.
// core.ts feeds it packets, and it returns payloads in order. Knows no sockets, timers or
// congestion.

import { FrameJoiner } from './framing.ts'
import { MAX_WINDOW_PACKETS, ReceiveRing } from './rings.ts'
import { DEFAULT_RWND, FLAG_DATA, FLAG_END, MAX_SACK_RANGES, seqDiff } from '../wire.ts'

/**
 * A peer that keeps to the advertised window can have one window unread and one in flight. Beyond
 * that it does not keep to it, and its packets are dropped without an acknowledgement.
 */
const MAX_HELD_BYTES = 2 * DEFAULT_RWND + 256 * 1024

/** Receiving state of one stream. */
export class Receiver {
  /** An acknowledgement is due at the end of this turn. */
  ackPending = false
  /** The window that the peer was last told. */
  advertised: number = DEFAULT_RWND

  #ring: ReceiveRing
  #emit: (data: Uint8Array) => void
  #joiner: FrameJoiner | null
  #endSeq = -1

  constructor(seq: number, framed: boolean, emit: (data: Uint8Array) => void) {
    this.#ring = new ReceiveRing(seq)
    this.#emit = emit
    this.#joiner = framed ? new FrameJoiner(emit) : null
  }

  /** Next number expected: the cumulative acknowledgement. */
  get nxt(): number {
    return this.#ring.nxt
  }

  /** END and everything before it is here. */
  get ended(): boolean {
    return this.#endSeq >= 0 && seqDiff(this.#endSeq, this.#ring.nxt) < 0
  }

  /** A packet waits for a missing one, so an acknowledgement needs SACK ranges. */
  get hasGaps(): boolean {
    return this.#ring.count > 0
  }

  /** Bytes held here, not counting what the application was given. */
  get heldBytes(): number {
    return this.#ring.bytes + (this.#joiner?.bytes ?? 0)
  }

  /** Starts at another number; only before the first packet. */
  reset(seq: number): void {
    this.#ring = new ReceiveRing(seq)
  }

  /** Takes a DATA or END packet. Returns false when it must not be acknowledged. */
  accept(seq: number, flags: number, payload: Uint8Array, unreadBytes: number): boolean {
    const distance = seqDiff(seq, this.#ring.nxt)
    if (distance < 0 || this.ended) return true
    if (distance >= MAX_WINDOW_PACKETS) return false
    if (unreadBytes + this.heldBytes + payload.length > MAX_HELD_BYTES) return false
    if (this.#endSeq >= 0 && seqDiff(seq, this.#endSeq) > 0) return false
    if (this.#ring.has(seq)) return true
    if ((flags & FLAG_END) !== 0 && this.#endSeq < 0) this.#endSeq = seq
    const data = (flags & FLAG_DATA) !== 0 && payload.length > 0 ? payload : null
    if (distance > 0) {
      this.#ring.put(seq, data)
      return true
    }
    this.#ring.advance()
    if (data !== null) this.#deliver(data)
    for (let next = this.#ring.shift(); next !== undefined; next = this.#ring.shift()) {
      if (next !== null) this.#deliver(next)
    }
    return true
  }

  /** Returns what framing withholds, as nothing more will come. */
  finish(): void {
    this.#joiner?.flush()
  }

  /** The room to advertise, given what the application has not read. */
  window(unreadBytes: number): number {
    return Math.max(0, DEFAULT_RWND - unreadBytes - this.#ring.bytes)
  }

  /** Writes SACK ranges as words; returns the pairs. */
  ranges(words: Uint32Array, at: number): number {
    return this.#ring.ranges(words, at, MAX_SACK_RANGES)
  }

  close(): void {
    this.#ring.clear()
    this.#joiner?.clear()
    this.ackPending = false
  }

  #deliver(data: Uint8Array): void {
    if (this.#joiner !== null) this.#joiner.push(data)
    else this.#emit(data)
  }
}
