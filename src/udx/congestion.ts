// How much may be in flight and how fast it may leave: CUBIC growth, HyStart exit, a reduction on
// loss that never goes below what the path was seen to deliver (Westwood), and a token bucket.
// Counts in packets and ms; knows nothing of sequence numbers, sockets or timers.

const INITIAL_CWND = 10
const MIN_CWND = 4
const MAX_CWND = 8192
const CUBIC_BETA = 0.7
const CUBIC_C = 0.4
/** Random loss must not shrink the window below the measured rate; 1.25 covers 20 % of loss. */
const DELIVERED_GAIN = 1.25
const RATE_ROUNDS = 10
const HYSTART_MIN_SAMPLES = 8
const HYSTART_MIN_MS = 4
const HYSTART_MAX_MS = 16
/** Tokens worth this many ms of the rate may leave at once; timers of 1 ms fire late. */
const BURST_MS = 4
const MIN_BURST = 16
const SLOW_START_PACING = 2.5
const AVOIDANCE_PACING = 1.4

/** Congestion window and pacing of one stream. */
export class Congestion {
  #window = INITIAL_CWND
  #threshold = Infinity
  #wMax = 0
  #epochAt = -1
  #k = 0
  #reno = 0

  #roundAt = -1
  #roundAcked = 0
  #roundMinRtt = Infinity
  #roundSamples = 0
  #rates = new Float64Array(RATE_ROUNDS)
  #rateIndex = 0

  #tokens = MIN_BURST
  #refilledAt = -1

  /** Whole packets that may be in flight. */
  get cwnd(): number {
    return Math.floor(this.#window)
  }

  get slowStart(): boolean {
    return this.#window < this.#threshold
  }

  /** Best delivery rate of the last rounds, packets per ms. */
  get bandwidth(): number {
    let best = 0
    for (const rate of this.#rates) if (rate > best) best = rate
    return best
  }

  /** Nothing was in flight: what comes next starts a new round and a full bucket. */
  onIdleStart(now: number): void {
    this.#roundAt = now
    this.#roundAcked = 0
    this.#epochAt = -1
  }

  /** A round trip's worth of packets was acknowledged. */
  onRound(now: number, minRtt: number): void {
    if (this.#roundAt >= 0) {
      const span = Math.max(now - this.#roundAt, minRtt, 0.05)
      this.#rateIndex = (this.#rateIndex + 1) % RATE_ROUNDS
      this.#rates[this.#rateIndex] = this.#roundAcked / span
    }
    this.#roundAt = now
    this.#roundAcked = 0
    this.#roundMinRtt = Infinity
    this.#roundSamples = 0
  }

  onRtt(rtt: number, minRtt: number): void {
    this.#roundSamples++
    if (rtt < this.#roundMinRtt) this.#roundMinRtt = rtt
    if (!this.slowStart || this.#roundSamples < HYSTART_MIN_SAMPLES) return
    const margin = Math.min(Math.max(minRtt / 8, HYSTART_MIN_MS), HYSTART_MAX_MS)
    if (this.#roundMinRtt > minRtt + margin) this.#threshold = this.#window
  }

  /**
   * Packets were acknowledged. The window grows only when it was what held the sender back
   * and no loss is being repaired.
   */
  onAcked(count: number, now: number, srtt: number, limited: boolean, recovering: boolean): void {
    this.#roundAcked += count
    if (recovering || !limited) return
    if (this.slowStart) {
      this.#window = Math.min(this.#window + count, MAX_CWND)
      return
    }
    if (this.#epochAt < 0) this.#startEpoch(now)
    const t = (now - this.#epochAt + srtt) / 1000
    const cubic = this.#wMax + CUBIC_C * (t - this.#k) ** 3
    // Where CUBIC would be slower than NewReno, NewReno's line holds.
    this.#reno += ((3 * (1 - CUBIC_BETA)) / (1 + CUBIC_BETA)) * (count / this.#window)
    const target = Math.min(Math.max(cubic, this.#reno), this.#window * 1.5)
    if (target > this.#window) {
      this.#window += Math.min(((target - this.#window) * count) / this.#window, count)
    }
    if (this.#window > MAX_CWND) this.#window = MAX_CWND
  }

  /** Loss was found by RACK; called once per window. */
  onLoss(minRtt: number): void {
    const cubic = this.#window * CUBIC_BETA
    const delivered = Math.min(this.bandwidth * minRtt * DELIVERED_GAIN, this.#window)
    this.#wMax = this.#window
    this.#window = Math.max(cubic, delivered, MIN_CWND)
    this.#threshold = this.#window
    this.#epochAt = -1
  }

  /** Nothing came back for a whole timeout. */
  onTimeout(): void {
    this.#wMax = this.#window
    this.#threshold = Math.max(this.#window * CUBIC_BETA, MIN_CWND)
    this.#window = MIN_CWND
    this.#epochAt = -1
  }

  /** Packets that pacing lets out now. */
  allowance(now: number, srtt: number): number {
    if (srtt === 0) return Infinity
    const rate = this.pacingRate(srtt)
    const burst = Math.max(MIN_BURST, rate * BURST_MS)
    if (this.#refilledAt < 0) this.#tokens = burst
    else this.#tokens = Math.min(this.#tokens + (now - this.#refilledAt) * rate, burst)
    this.#refilledAt = now
    return this.#tokens
  }

  /** Takes the tokens of packets that left. */
  spend(packets: number): void {
    this.#tokens -= packets
  }

  /** Packets per ms. */
  pacingRate(srtt: number): number {
    return ((this.slowStart ? SLOW_START_PACING : AVOIDANCE_PACING) * this.#window) / srtt
  }

  #startEpoch(now: number): void {
    this.#epochAt = now
    this.#reno = this.#window
    if (this.#wMax < this.#window) this.#wMax = this.#window
    this.#k = Math.cbrt((this.#wMax - this.#window) / CUBIC_C)
  }
}
