// Decides which sent packets are lost (RACK), which to send as a tail probe (TLP) and what a
// retransmission timeout means. Works on the sender's ring; sends nothing itself.

import { type Rack, type RttEstimator, reorderWindowMs } from './recovery.ts'
import { MARK_PROBE, MARK_RETRANSMITTED, STATE_LOST, STATE_SENT, type SentRing } from './rings.ts'
import { seqAdd, seqDiff } from './wire.ts'

/** A packet that timed out this often and is still silent ends the stream: 13 * RTO in all. */
export const MAX_TIMEOUTS = 6

/** Counts that loss decisions change; the sender owns them. */
export interface Flight {
  /** Packets in state SENT. */
  inflight: number
  /** Bytes of those, headers included. */
  inflightBytes: number
  /** Packets in state LOST. */
  lost: number
  /** No lost packet lies below this number. */
  lostFrom: number
  /** No retransmitted packet lies at or above this number. */
  resentEnd: number
}

/** What one pass of RACK found. */
export interface RackResult {
  /** Packets that are newly lost and were no MTU probes. */
  lost: number
  lostProbes: number
  /** ms until the earliest of those still within the reorder window; 0 when there are none. */
  waitMs: number
}

/** Marks as lost what was sent long enough before something that has been delivered. */
export function detectLoss(
  ring: SentRing,
  flight: Flight,
  rack: Rack,
  rtt: RttEstimator,
  recovering: boolean,
  now: number,
  headerBytes: number
): RackResult {
  const result: RackResult = { lost: 0, lostProbes: 0, waitMs: 0 }
  const sacked = ring.span - flight.inflight - flight.lost
  const window = rack.rtt + reorderWindowMs(rack, rtt, recovering, sacked)
  for (let seq = ring.una; seq !== ring.nxt; seq = seqAdd(seq, 1)) {
    const index = seq & ring.mask
    const sentAt = ring.sentAt[index]!
    const end = seqAdd(seq, 1)
    const before = sentAt < rack.sentAt || (sentAt === rack.sentAt && seqDiff(end, rack.end) < 0)
    // Packets that were sent once lie in the order they were sent.
    if (!before && seqDiff(seq, flight.resentEnd) >= 0) break
    if (ring.state[index] !== STATE_SENT || !before) continue
    const waitMs = sentAt + window - now
    if (waitMs > 0) {
      result.waitMs = Math.max(result.waitMs, waitMs)
    } else {
      if ((ring.marks[index]! & MARK_PROBE) === 0) result.lost++
      else result.lostProbes++
      markLost(ring, flight, seq, headerBytes)
    }
  }
  return result
}

/**
 * The retransmission timer fired: the oldest packet is lost, and so is all that RACK would call
 * lost by now. Returns false when one of them has used up its chances.
 */
export function loseOnTimeout(
  ring: SentRing,
  flight: Flight,
  windowMs: number,
  now: number,
  headerBytes: number
): boolean {
  for (let seq = ring.una; seq !== ring.nxt; seq = seqAdd(seq, 1)) {
    const index = seq & ring.mask
    if (ring.state[index] === 0) continue
    if (seq !== ring.una) {
      if (ring.state[index] === STATE_LOST || now < ring.sentAt[index]! + windowMs) continue
    }
    if (ring.timeouts[index]! >= MAX_TIMEOUTS) return false
    ring.timeouts[index] = ring.timeouts[index]! + 1
    if (ring.state[index] === STATE_SENT) markLost(ring, flight, seq, headerBytes)
  }
  return true
}

/** Takes a packet out of flight and puts it in line for sending again. */
export function markLost(ring: SentRing, flight: Flight, seq: number, headerBytes: number): void {
  const index = seq & ring.mask
  ring.state[index] = STATE_LOST
  flight.inflight--
  flight.inflightBytes -= ring.sizes[index]! + headerBytes
  if (flight.lost === 0 || seqDiff(seq, flight.lostFrom) < 0) flight.lostFrom = seq
  flight.lost++
}

/** The next packet to send again, lowest number first. The caller knows that there is one. */
export function nextLost(ring: SentRing, flight: Flight): number {
  let seq = seqDiff(flight.lostFrom, ring.una) < 0 ? ring.una : flight.lostFrom
  while (ring.state[seq & ring.mask] !== STATE_LOST) seq = seqAdd(seq, 1)
  flight.lostFrom = seq
  return seq
}

/** The highest packet still outstanding, or -1. */
export function highestOutstanding(ring: SentRing): number {
  for (let seq = ring.nxt; seq !== ring.una;) {
    seq = seqAdd(seq, -1)
    if (ring.state[seq & ring.mask] !== 0) return seq
  }
  return -1
}

/** Whether a packet was ever sent twice, so that its acknowledgement times nothing. */
export function wasResent(ring: SentRing, index: number): boolean {
  return (ring.marks[index]! & MARK_RETRANSMITTED) !== 0
}
