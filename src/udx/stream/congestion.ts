// How much may be in flight and how fast it may be sent. The window grows like CUBIC and shrinks on
// loss, but never below what the path was seen to deliver. A reduction is undone when the packets
// turn out not to be lost. The window is capped at two bandwidth-delay products, so that bulk data
// does not fill the buffers that a small message has to pass. Counts in packets and ms; knows no
// sequence numbers, sockets or timers.

const INITIAL_CWND = 10
const MIN_CWND = 4
const MAX_CWND = 8192
const CUBIC_BETA = 0.7
const CUBIC_C = 0.4
/**
 * Random loss must not shrink the window below what keeps up the measured rate, resending included,
 * and a quarter more, so that the rate can turn out to be higher. Where even the best round trips
 * of a round say that a queue stands, the loss is of our own making.
 */
const DELIVERED_GAIN = 1.25
const MAX_LOSS = 0.25
const STANDING_SHARE = 1 / 16
const STANDING_MIN_MS = 0.5
/**
 * This much loss is no sign of a full path: radio links lose packets anyway, and the cap keeps
 * queues short without it. Counted over some hundred packets, so that a few losses in a row do not
 * decide.
 */
const TOLERATED_LOSS = 0.02
/**
 * In startup only a round that overshot by far counts, or random loss would end it near nothing.
 */
const STARTUP_TOLERATED_LOSS = 0.2
const STARTUP_TOLERATED_PACKETS = 8
const TOLERATED_PACKETS = 2
const LOSS_HISTORY_PACKETS = 1024
const RATE_ROUNDS = 10
/** Startup ends when this many rounds did not deliver a quarter more than before. */
const FULL_ROUNDS = 3
const FULL_GROWTH = 1.25
/**
 * It also ends when the best of some round trips is this much longer than the shortest: a queue
 * builds up.
 */
const QUEUE_SAMPLES = 16
const QUEUE_SHARE = 1 / 8
const QUEUE_MIN_MS = 4
const QUEUE_MAX_MS = 16
const CAP_GAIN = 2
/** Rates lag a round behind a window that doubles. */
const STARTUP_CAP_GAIN = 2.25
/** Acknowledgements come in bursts: event loops on both sides serve sockets in batches. */
const CAP_ALLOWANCE_MS = 4
/** Older minima are measured anew, with a nearly empty pipe. */
const MIN_RTT_AGE_MS = 10_000
const DRAIN_MIN_MS = 50
/** Tokens worth this many ms of the rate may leave at once; timers of 1 ms fire late. */
const BURST_MS = 4
const MIN_BURST = 16
const STARTUP_PACING = 2.5
const STEADY_PACING = 1.4

/** What one packet acknowledged, and the state of the sender then. */
export interface AckSample {
  packets: number
  now: number
  srtt: number
  /** The window, not the application, held the sender back. */
  limited: boolean
}

/** Congestion window and pacing of one stream. */
export class Congestion {
  #window = INITIAL_CWND
  #threshold = Infinity
  #wMax = 0
  #epochAt = -1
  #k = 0
  #reno = 0

  /** The window was reduced and what was in flight then is not yet dealt with. */
  #reducing = false
  #reducingRounds = 0
  /** Window and threshold before the last reduction; 0 when it is not to be undone. */
  #undoWindow = 0
  #undoThreshold = Infinity
  #lastAcked = 0
  #roundAcked = 0
  #roundLost = 0
  #recentAcked = 0
  #recentLost = 0

  #rates = new Float64Array(RATE_ROUNDS)
  #rateIndex = 0
  #bandwidth = 0
  #capKnown = false
  #fullRate = 0
  #fullRounds = 0

  #roundMinRtt = Infinity
  #roundSamples = 0
  /** The best round trip of the round before. */
  #lastMinRtt = 0
  #minRtt = Infinity
  #minRttAt = 0
  #drainUntil = -1
  #drainMin = Infinity

  #tokens = MIN_BURST
  #refilledAt = -1

  /** Whole packets that may be in flight. */
  get cwnd(): number {
    return Math.floor(Math.min(this.#window, this.#cap()))
  }

  get startup(): boolean {
    return this.#window < this.#threshold
  }

  /** Best delivery rate of the last rounds, packets per ms. */
  get bandwidth(): number {
    return this.#bandwidth
  }

  /** Nothing was in flight: the next packet starts a new round. */
  onIdleStart(): void {
    this.#epochAt = -1
  }

  /** One round trip delivered so many packets in `ms`. `limited`: the window held some back. */
  onRound(packets: number, ms: number, limited: boolean): void {
    const floor = this.#minRtt === Infinity ? 0 : this.#minRtt
    this.#onRate(packets / Math.max(ms, floor, 0.05), limited)
    // Loss that continues among packets sent after a reduction shows that it was too small.
    const round = this.#roundAcked + this.#roundLost
    const lossy = this.#roundLost > TOLERATED_PACKETS + TOLERATED_LOSS * round
    if (this.#reducing && ++this.#reducingRounds >= 2 && lossy) this.#reduce()
    this.#lastAcked = this.#roundAcked
    this.#roundAcked = 0
    this.#roundLost = 0
    if (this.#roundSamples > 0) this.#lastMinRtt = this.#roundMinRtt
    this.#roundMinRtt = Infinity
    this.#roundSamples = 0
  }

  /** One round trip was measured; `path` has the estimates from all of them. */
  onRtt(rtt: number, now: number, path: { srtt: number; rttvar: number }): void {
    this.#roundMinRtt = Math.min(this.#roundMinRtt, rtt)
    if (++this.#roundSamples === QUEUE_SAMPLES && this.startup) {
      const share = Math.min(Math.max(this.#minRtt * QUEUE_SHARE, QUEUE_MIN_MS), QUEUE_MAX_MS)
      // Where round trips vary anyway, they must have grown by more.
      if (this.#roundMinRtt > this.#minRtt + share + path.rttvar) this.#threshold = this.#window
    }
    if (rtt <= this.#minRtt) {
      this.#minRtt = rtt
      this.#minRttAt = now
      this.#drainUntil = -1
    } else if (this.#drainUntil >= 0) {
      this.#drainMin = Math.min(this.#drainMin, rtt)
      if (now < this.#drainUntil) return
      this.#minRtt = this.#drainMin
      this.#minRttAt = now
      this.#drainUntil = -1
    } else if (now - this.#minRttAt > MIN_RTT_AGE_MS) {
      this.#drainUntil = now + Math.max(2 * path.srtt, DRAIN_MIN_MS)
      this.#drainMin = rtt
    }
  }

  /**
   * Packets were acknowledged. The window grows only when it was what held the sender back
   * and it was not just reduced.
   */
  onAcked({ packets, now, srtt, limited }: AckSample): void {
    this.#roundAcked += packets
    this.#recentAcked += packets
    if (this.#recentAcked > LOSS_HISTORY_PACKETS) {
      this.#recentAcked /= 2
      this.#recentLost /= 2
    }
    // Far above the cap a larger window would change nothing until it did harm.
    if (this.#reducing || !limited || this.#window >= 2 * this.#cap()) return
    const before = this.#window
    if (this.startup) this.#window += packets
    else {
      if (this.#epochAt < 0) this.#startEpoch(now)
      const seconds = (now - this.#epochAt + srtt) / 1000
      const cubic = this.#wMax + CUBIC_C * (seconds - this.#k) ** 3
      // Where CUBIC would be slower than NewReno, NewReno's line holds.
      this.#reno += ((3 * (1 - CUBIC_BETA)) / (1 + CUBIC_BETA)) * (packets / before)
      const target = Math.min(Math.max(cubic, this.#reno), before * 1.5)
      if (target > before) this.#window += Math.min(((target - before) * packets) / before, packets)
    }
    this.#window = Math.min(this.#window, MAX_CWND)
  }

  /** RACK found packets lost; MTU probes do not count. */
  onLost(packets: number): void {
    this.#roundLost += packets
    this.#recentLost += packets
    if (!this.#reducing && this.#tooMuchLoss) this.#reduce()
  }

  get #tooMuchLoss(): boolean {
    if (this.startup) {
      const round = this.#lastAcked + this.#roundAcked + this.#roundLost
      return this.#roundLost > STARTUP_TOLERATED_PACKETS + STARTUP_TOLERATED_LOSS * round
    }
    const sent = this.#recentAcked + this.#recentLost
    return this.#recentLost > TOLERATED_PACKETS + TOLERATED_LOSS * sent
  }

  /**
   * So many packets counted as lost had only been overtaken: a reduction that only they caused is
   * undone.
   */
  onSpurious(packets: number): void {
    this.#recentLost = Math.max(0, this.#recentLost - packets)
    if (this.#undoWindow === 0 || this.#tooMuchLoss) return
    this.#window = Math.max(this.#window, this.#undoWindow)
    this.#threshold = this.#undoThreshold
    this.#undoWindow = 0
    this.#reducing = false
  }

  /** All packets that were in flight when loss was found are acknowledged or lost. */
  onRecovered(): void {
    this.#reducing = false
  }

  /** Nothing was acknowledged for a whole timeout. */
  onTimeout(): void {
    this.#remember()
    this.#wMax = Math.min(this.#window, this.#cap())
    // A startup that was cut short knows nothing about the path yet, so it starts over.
    if (!this.startup) this.#threshold = Math.max(this.#wMax * CUBIC_BETA, MIN_CWND)
    this.#window = MIN_CWND
    this.#epochAt = -1
    this.#reducing = false
  }

  /** Packets that pacing lets out now. */
  allowance(now: number, srtt: number): number {
    if (srtt === 0) return Infinity
    const rate = ((this.startup ? STARTUP_PACING : STEADY_PACING) * this.cwnd) / srtt
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

  #remember(): void {
    this.#undoWindow = this.#window
    this.#undoThreshold = this.#threshold
  }

  #reduce(): void {
    const window = Math.min(this.#window, this.#cap())
    const product = this.#minRtt === Infinity ? 0 : this.#bandwidth * this.#minRtt
    const rise = Math.max(this.#minRtt * STANDING_SHARE, STANDING_MIN_MS)
    const standing = this.#lastMinRtt > this.#minRtt + rise
    const loss = Math.min(this.#recentLost / (this.#recentAcked + this.#recentLost), MAX_LOSS)
    const gain = standing ? 1 : DELIVERED_GAIN / (1 - loss)
    const delivered = Math.min(product * gain, window)
    // At the rate that the path delivers, loss is the path's own: going on carefully is all that
    // can be done.
    if (delivered === window && !this.startup) return
    this.#remember()
    this.#reducing = true
    this.#reducingRounds = 0
    this.#wMax = window
    this.#window = Math.max(window * CUBIC_BETA, delivered, MIN_CWND)
    this.#threshold = this.#window
    this.#epochAt = -1
  }

  #cap(): number {
    if (!this.#capKnown || this.#minRtt === Infinity) return Infinity
    if (this.#drainUntil >= 0) return Math.max((this.#bandwidth * this.#minRtt) / 2, MIN_CWND)
    const gain = this.startup ? STARTUP_CAP_GAIN : CAP_GAIN
    const cap = this.#bandwidth * (gain * this.#minRtt + CAP_ALLOWANCE_MS)
    return Math.max(cap, INITIAL_CWND)
  }

  /** A rate that the application held down says nothing, unless it is the best so far. */
  #onRate(rate: number, limited: boolean): void {
    if ((!limited || this.#drainUntil >= 0) && rate <= this.#bandwidth) return
    this.#rateIndex = (this.#rateIndex + 1) % RATE_ROUNDS
    this.#rates[this.#rateIndex] = rate
    this.#bandwidth = 0
    for (const one of this.#rates) if (one > this.#bandwidth) this.#bandwidth = one
    if (!limited) return
    this.#capKnown = true
    if (!this.startup) return
    if (rate >= this.#fullRate * FULL_GROWTH) {
      this.#fullRate = rate
      this.#fullRounds = 0
    } else if (++this.#fullRounds >= FULL_ROUNDS) this.#threshold = this.#window
  }

  #startEpoch(now: number): void {
    this.#epochAt = now
    this.#reno = this.#window
    if (this.#wMax < this.#window) this.#wMax = this.#window
    this.#k = Math.cbrt((this.#wMax - this.#window) / CUBIC_C)
  }
}
