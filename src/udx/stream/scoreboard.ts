// Which sent packets are in flight, acknowledged or lost: takes acknowledgements, applies RACK, and
// says what to send again. Owns the ring of sent packets and their slots; sends nothing itself and
// knows no windows or timers. Only sender.ts calls it.

import { Rack, type RttEstimator, reorderWindowMs } from './recovery.ts'
import {
  MARK_LOST,
  MARK_PROBE,
  MARK_RETRANSMITTED,
  type Route,
  STATE_LOST,
  STATE_SENT,
  SentRing
} from './rings.ts'
import type { Slot, SlotPool } from './slots.ts'
import { HEADER_BYTES, seqAdd, seqDiff } from '../wire.ts'

/** A packet that timed out this often without an answer ends the stream: 13 * RTO in all. */
export const MAX_TIMEOUTS = 6

/** What acknowledgements added up to since the last tally. */
export interface Tally {
  packets: number
  /** Payload bytes newly acknowledged, in order or not. */
  bytes: number
  /** When the packet to time was sent; -Infinity when none can be timed. */
  sampleSentAt: number
  /** Datagram size of an MTU probe that arrived, with IP and UDP headers; 0 for none. */
  probeBytes: number
  /** Packets that had been declared lost and were only overtaken. */
  spurious: number
  /** What had been delivered when the newest of these packets was sent; -1 without one. */
  deliveredBefore: number
  /** Time of the deliveries since then, ms: the longer of sending and acknowledging. */
  deliveryMs: number
}

function emptyTally(): Tally {
  return {
    packets: 0,
    bytes: 0,
    sampleSentAt: -Infinity,
    probeBytes: 0,
    spurious: 0,
    deliveredBefore: -1,
    deliveryMs: 0
  }
}

/** The result of one pass of RACK. */
export interface Losses {
  /** Newly lost packets that were not MTU probes. */
  packets: number
  /**
   * ms until the last of those still within the reordering window are due; 0 when there are none.
   */
  waitMs: number
}

/** The state of everything sent and not yet acknowledged in order. */
export class Scoreboard {
  readonly ring: SentRing
  readonly rack: Rack = new Rack()
  /** Packets in flight. */
  inflight = 0
  /** Bytes of those, UDX headers included. */
  inflightBytes = 0
  /** Packets that wait to be sent again. */
  lost = 0
  /** Payload bytes below una. */
  ackedBytes = 0
  /** Packets sent again, over the life of the stream. */
  retransmits = 0
  /** Packets that arrived, over the life of the stream. */
  delivered = 0

  #pool: SlotPool
  #rtt: RttEstimator
  #highestAcked: number
  /** No lost packet lies below this number. */
  #lostFrom: number
  /** No packet that was sent twice lies at or above this number. */
  #resentEnd: number
  #tally: Tally = emptyTally()
  #deliveredAt = 0
  /** When the packet that was acknowledged last had been sent. */
  #flightAt = 0

  constructor(pool: SlotPool, rtt: RttEstimator, seq: number) {
    this.#pool = pool
    this.#rtt = rtt
    this.ring = new SentRing(seq)
    this.#highestAcked = seqAdd(seq, -1)
    this.#lostFrom = seq
    this.#resentEnd = seq
  }

  /** Packets above una that the peer has. */
  get sacked(): number {
    return this.ring.span - this.inflight - this.lost
  }

  /** Whether a packet may be lost that no timer has found yet. */
  get suspicious(): boolean {
    return this.sacked > 0 || seqDiff(this.#resentEnd, this.ring.una) > 0
  }

  /** Adds a packet that is sent for the first time. */
  push(slot: Slot, route: Route, size: number, marks: number, now: number): void {
    const { ring } = this
    const index = ring.push()
    ring.state[index] = STATE_SENT
    ring.marks[index] = marks
    ring.timeouts[index] = 0
    ring.sizes[index] = size
    ring.firstAt[index] = now
    this.#stamp(index, now)
    ring.slots[index] = slot
    ring.routes[index] = route
    this.inflight++
    this.inflightBytes += size + HEADER_BYTES
  }

  /** Notes that a packet is sent again. */
  resent(seq: number, now: number): void {
    const { ring } = this
    const index = seq & ring.mask
    this.#stamp(index, now)
    if (ring.state[index] === STATE_LOST) {
      this.lost--
      this.inflight++
      this.inflightBytes += ring.sizes[index]! + HEADER_BYTES
    }
    ring.state[index] = STATE_SENT
    ring.marks[index] = ring.marks[index]! | MARK_RETRANSMITTED
    const end = seqAdd(seq, 1)
    if (seqDiff(end, this.#resentEnd) > 0) this.#resentEnd = end
    this.retransmits++
  }

  /** Everything below `ack` has arrived. The caller knows that ack lies within una and nxt. */
  acknowledge(ack: number, now: number): void {
    const { ring } = this
    while (ring.una !== ack) {
      const index = ring.una & ring.mask
      if (ring.state[index] !== 0) this.#acked(ring.una, now)
      this.ackedBytes += ring.sizes[index]!
      ring.una = seqAdd(ring.una, 1)
    }
    if (seqDiff(this.#resentEnd, ack) < 0) this.#resentEnd = ack
    if (seqDiff(this.#lostFrom, ack) < 0) this.#lostFrom = ack
  }

  /** Takes one valid SACK range. */
  sack(start: number, end: number, now: number): void {
    const { ring } = this
    for (let seq = start; seq !== end; seq = seqAdd(seq, 1)) {
      if (ring.state[seq & ring.mask] !== 0) this.#acked(seq, now)
    }
  }

  /** Returns what was acknowledged since the last call. */
  takeTally(): Tally {
    const tally = this.#tally
    this.#tally = emptyTally()
    return tally
  }

  /** Marks as lost the packets that were sent long enough before a delivered one. */
  detect(recovering: boolean, now: number): Losses {
    const { ring, rack } = this
    const found: Losses = { packets: 0, waitMs: 0 }
    const window = rack.rtt + reorderWindowMs(rack, this.#rtt, recovering, this.sacked)
    for (let seq = ring.una; seq !== ring.nxt; seq = seqAdd(seq, 1)) {
      const index = seq & ring.mask
      const sentAt = ring.sentAt[index]!
      const before = rack.isBefore(sentAt, seqAdd(seq, 1))
      // Packets that were sent once lie in the order in which they were sent.
      if (!before && seqDiff(seq, this.#resentEnd) >= 0) break
      if (ring.state[index] !== STATE_SENT || !before) continue
      const waitMs = sentAt + window - now
      if (waitMs > 0) {
        found.waitMs = Math.max(found.waitMs, waitMs)
      } else {
        if ((ring.marks[index]! & MARK_PROBE) === 0) found.packets++
        this.#markLost(seq)
      }
    }
    return found
  }

  /**
   * The retransmission timer fired: the oldest packet is lost, and so are all that RACK would
   * declare lost by now. Returns false when one of them has used up its retries.
   */
  loseOnTimeout(now: number): boolean {
    const { ring, rack } = this
    const window = rack.rtt + reorderWindowMs(rack, this.#rtt, true, 0)
    for (let seq = ring.una; seq !== ring.nxt; seq = seqAdd(seq, 1)) {
      const index = seq & ring.mask
      const state = ring.state[index]
      if (state === 0) continue
      if (seq !== ring.una && (state === STATE_LOST || now < ring.sentAt[index]! + window)) continue
      if (ring.timeouts[index]! >= MAX_TIMEOUTS) return false
      ring.timeouts[index] = ring.timeouts[index]! + 1
      if (state === STATE_SENT) this.#markLost(seq)
    }
    return true
  }

  /** The next packet to send again, lowest number first. The caller knows that there is one. */
  nextLost(): number {
    const { ring } = this
    let seq = this.#lostFrom
    while (ring.state[seq & ring.mask] !== STATE_LOST) seq = seqAdd(seq, 1)
    this.#lostFrom = seq
    return seq
  }

  /** The highest packet still outstanding, or -1. */
  highestOutstanding(): number {
    const { ring } = this
    for (let seq = ring.nxt; seq !== ring.una;) {
      seq = seqAdd(seq, -1)
      if (ring.state[seq & ring.mask] !== 0) return seq
    }
    return -1
  }

  /** Gives every slot back. */
  clear(): void {
    const { ring } = this
    for (let seq = ring.una; seq !== ring.nxt; seq = seqAdd(seq, 1)) {
      const index = seq & ring.mask
      const slot = ring.slots[index]
      if (slot) this.#pool.give(slot)
      ring.slots[index] = null
      ring.state[index] = 0
    }
    this.inflight = 0
    this.inflightBytes = 0
    this.lost = 0
  }

  #acked(seq: number, now: number): void {
    const { ring, rack } = this
    const tally = this.#tally
    const index = seq & ring.mask
    const size = ring.sizes[index]!
    const resent = (ring.marks[index]! & MARK_RETRANSMITTED) !== 0
    const sentAt = ring.sentAt[index]!
    const spurious = this.#isSpurious(index, now)
    if (ring.state[index] === STATE_SENT) {
      this.inflight--
      this.inflightBytes -= size + HEADER_BYTES
    } else this.lost--
    ring.state[index] = 0
    const slot = ring.slots[index]
    if (slot) {
      if ((ring.marks[index]! & MARK_PROBE) !== 0) {
        tally.probeBytes = slot.packet.length + (ring.routes[index]?.overhead ?? 0) - HEADER_BYTES
      }
      this.#pool.give(slot)
    }
    ring.slots[index] = null
    ring.routes[index] = null
    tally.packets++
    tally.bytes += size
    this.delivered++
    this.#deliveredAt = now
    this.#flightAt = sentAt
    if (ring.delivered[index]! >= tally.deliveredBefore) {
      tally.deliveredBefore = ring.delivered[index]!
      tally.deliveryMs = Math.max(sentAt - ring.flightAt[index]!, now - ring.deliveredAt[index]!)
    }
    if (spurious) {
      tally.spurious++
      rack.late(Math.min(now - ring.firstAt[index]! - rack.rtt, this.#rtt.srtt))
    }
    if (!resent && sentAt > tally.sampleSentAt) tally.sampleSentAt = sentAt
    if (seqDiff(seq, this.#highestAcked) > 0) this.#highestAcked = seq
    else if (!resent) rack.reordered = true
    rack.delivered(sentAt, seqAdd(seq, 1), now, resent, this.#rtt.minRtt)
  }

  /**
   * It was declared lost, but the acknowledgement cannot be for a second transmission: there was
   * none, or it is too recent.
   */
  #isSpurious(index: number, now: number): boolean {
    const { ring } = this
    if ((ring.marks[index]! & MARK_LOST) === 0) return false
    return ring.state[index] === STATE_LOST || now - ring.sentAt[index]! < this.#rtt.minRtt
  }

  /** Notes when a packet is sent and the state of delivery then. */
  #stamp(index: number, now: number): void {
    const { ring } = this
    if (this.inflight === 0) {
      this.#deliveredAt = now
      this.#flightAt = now
    }
    ring.sentAt[index] = now
    ring.delivered[index] = this.delivered
    ring.deliveredAt[index] = this.#deliveredAt
    ring.flightAt[index] = this.#flightAt
  }

  #markLost(seq: number): void {
    const { ring } = this
    const index = seq & ring.mask
    ring.state[index] = STATE_LOST
    ring.marks[index] = ring.marks[index]! | MARK_LOST
    this.inflight--
    this.inflightBytes -= ring.sizes[index]! + HEADER_BYTES
    if (this.lost === 0 || seqDiff(seq, this.#lostFrom) < 0) this.#lostFrom = seq
    this.lost++
  }
}
