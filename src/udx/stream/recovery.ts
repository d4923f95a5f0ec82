// Estimates of the path: round trips, the RACK state and the search for its MTU. Pure bookkeeping
// on numbers from the sender; knows no packets, sockets or clock.

import { MAX_PADDING, MTU_BASE, MTU_STEP } from '../wire.ts'
import { seqDiff } from '../wire.ts'

export const RTO_MIN_MS: number = 1000
const RTO_MAX_MS = 30_000
/** A sample above this is believed only near the running average: a laptop slept. */
const OUTLIER_MS = 5000
/** min_rtt covers two buckets of this length. */
const MIN_RTT_BUCKET_MS = 150_000

/** Smoothed round trip, its variance, windowed minimum and the timeout made of them, in ms. */
export class RttEstimator {
  /** 0 means that there is no sample yet. */
  srtt = 0
  rttvar = 0
  rto: number = RTO_MIN_MS
  samples = 0
  #current = Infinity
  #previous = Infinity
  #bucketEndsAt = 0

  /** Windowed minimum; 0 without a sample. */
  get minRtt(): number {
    const min = Math.min(this.#current, this.#previous)
    return min === Infinity ? 0 : min
  }

  sample(measuredMs: number, now: number): void {
    let rtt = Math.max(measuredMs, 0.01)
    if (this.srtt === 0) {
      rtt = Math.min(rtt, RTO_MAX_MS)
      this.srtt = rtt
      this.rttvar = rtt / 2
    } else {
      const limit = this.srtt + 5 * this.rttvar
      if (rtt > OUTLIER_MS && rtt > limit) rtt = Math.min(limit, RTO_MAX_MS)
      this.rttvar = (3 * this.rttvar + Math.abs(this.srtt - rtt)) / 4
      this.srtt = (7 * this.srtt + rtt) / 8
    }
    this.samples++
    this.rto = Math.min(Math.max(this.srtt + 4 * this.rttvar, RTO_MIN_MS), RTO_MAX_MS)
    if (now >= this.#bucketEndsAt) {
      this.#previous = this.#current
      this.#current = rtt
      this.#bucketEndsAt = now + MIN_RTT_BUCKET_MS
    } else if (rtt < this.#current) this.#current = rtt
  }
}

/** After 16 recoveries half of the learned reordering is forgotten, as in RFC 8985. */
const LATE_FADING = 0.96

/** The most recently sent packet that is known to be delivered (RFC 8985). */
export class Rack {
  sentAt: number = -Infinity
  end: number = 0
  rtt: number = 0
  reordered = false
  /** How late packets came that had been declared lost, in ms; fades. */
  lateMs = 0

  /** Learns of a delivery; `end` is its sequence number + 1. */
  delivered(
    sentAt: number,
    end: number,
    now: number,
    retransmitted: boolean,
    minRtt: number
  ): void {
    const rtt = now - sentAt
    // The acknowledgement was for the first transmission, not for this one.
    if (retransmitted && rtt < minRtt) return
    if (sentAt > this.sentAt || (sentAt === this.sentAt && seqDiff(end, this.end) > 0)) {
      this.sentAt = sentAt
      this.end = end
      this.rtt = rtt
    }
  }

  /** A packet that had been declared lost was only overtaken, by packets so much faster. */
  late(ms: number): void {
    this.reordered = true
    this.lateMs = Math.max(this.lateMs, ms)
  }

  /** A recovery is over. A path that keeps its order again is trusted after some of them. */
  recovered(): void {
    this.lateMs *= LATE_FADING
  }

  /** Whether a packet was sent before the one that is known to be delivered. */
  isBefore(sentAt: number, end: number): boolean {
    return sentAt < this.sentAt || (sentAt === this.sentAt && seqDiff(end, this.end) < 0)
  }
}

/** How long to wait for a late packet before it counts as lost. */
export function reorderWindowMs(
  rack: Rack,
  rtt: RttEstimator,
  recovering: boolean,
  sacked: number
): number {
  if (!rack.reordered && (recovering || sacked >= 3)) return 0
  return Math.min(Math.max(rtt.minRtt / 4, rack.lateMs), rtt.srtt)
}

/** Below this a probe would only race the peer's delayed acknowledgement or a busy event loop. */
const MIN_PROBE_TIMEOUT_MS = 10
const MAX_ACK_DELAY_MS = 2

/** Time after the last transmission at which the tail is probed. */
export function probeTimeoutMs(rtt: RttEstimator, outstanding: number): number {
  if (rtt.srtt === 0) return RTO_MIN_MS
  const timeout = Math.max(2 * rtt.srtt, MIN_PROBE_TIMEOUT_MS)
  return outstanding === 1 ? timeout + MAX_ACK_DELAY_MS : timeout
}

const MAX_PROBE_TRIES = 3

/**
 * Search for the largest packet the path takes. It first tries the longest stride that padding
 * allows, because most paths take 1500 and two round trips then do what ten small steps would.
 */
export class MtuSearch {
  mtu: number = MTU_BASE
  /** Total size of the probe to send next. */
  size: number = MTU_BASE
  #limit: number
  #stride = MAX_PADDING
  #tries = 0
  #searching = false
  #inFlight = false

  /** `limit` of MTU_BASE or less means that no search takes place. */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** The first acknowledgement came: packets get through, so find out how large they may be. */
  start(): void {
    if (this.#searching || this.mtu >= this.#limit || this.#tries >= MAX_PROBE_TRIES) return
    this.#searching = true
    this.#aim()
  }

  get wantsProbe(): boolean {
    return this.#searching && !this.#inFlight
  }

  sent(): void {
    this.#inFlight = true
  }

  /** A probe of this total size arrived. */
  acked(size: number): void {
    this.#inFlight = false
    if (size > this.mtu) this.mtu = size
    this.#tries = 0
    if (this.mtu >= this.#limit) this.#searching = false
    else this.#aim()
  }

  lost(): void {
    this.#inFlight = false
    if (!this.#searching) return
    this.#tries++
    if (this.#tries < MAX_PROBE_TRIES) return
    if (this.#stride > MTU_STEP) {
      this.#stride = MTU_STEP
      this.#tries = 0
      this.#aim()
    } else this.#searching = false
  }

  /** The path changed: back to the size that every path carries. */
  reset(): void {
    this.mtu = MTU_BASE
    this.#stride = MAX_PADDING
    this.#tries = 0
    this.#searching = false
    this.#inFlight = false
  }

  #aim(): void {
    this.size = Math.min(this.mtu + this.#stride, this.#limit)
  }
}
