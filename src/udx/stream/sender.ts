// The sending half of a stream: turns the queue into packets, keeps windows and pacing, and the one
// timer (RTO, RACK, TLP, zero-window probe, keepalive). core.ts calls write and end;
// board.acknowledge, board.sack and settle for every packet received; flush once a turn; and
// ontimer. It sends through SenderHost and never calls the application: results are returned or
// left in fields.

import { Congestion } from './congestion.ts'
import { ByteQueue } from './queue.ts'
import { MtuSearch, RttEstimator, probeTimeoutMs } from './recovery.ts'
import { MARK_PROBE, type Route, STATE_LOST, type SentRing } from './rings.ts'
import { Scoreboard } from './scoreboard.ts'
import { type Slot, type SlotPool, sizeSlot } from './slots.ts'
import {
  DEFAULT_RWND,
  FLAG_DATA,
  FLAG_END,
  type Header,
  HEADER_BYTES,
  createHeader,
  seqDiff,
  writeHeader
} from '../wire.ts'

export const TIMER_NONE = 0
export const TIMER_RTO = 1
export const TIMER_RACK = 2
export const TIMER_TLP = 3
export const TIMER_ZWP = 4
export const TIMER_KEEPALIVE = 5
export type TimerKind = 0 | 1 | 2 | 3 | 4 | 5

const OPEN = 0
const RECOVERY = 1
const LOSS = 2
/**
 * Being without data for this part of a round trip counts as idle; a shorter pause is an event loop
 * that refills the queue.
 */
const STARVED_SHARE = 1 / 8

/** What the sender needs of the core. */
export interface SenderHost {
  readonly pool: SlotPool
  /** Where new packets go. */
  readonly route: Route | null
  readonly blocked: boolean
  /** A changeRemote waits for its acknowledgement: no MTU probes until then. */
  readonly changing: boolean
  /** Fills in the receive window and the acknowledgement that this packet carries. */
  stamp(header: Header): void
  /** @param isProbe whether it tells how large packets may be: see Outlet.queue() */
  transmit(packet: Uint8Array, route: Route, isProbe?: boolean): void
  sendHeartbeat(): void
}

/** Sending state of one stream. */
export class Sender {
  readonly queue: ByteQueue = new ByteQueue()
  readonly rtt: RttEstimator = new RttEstimator()
  readonly congestion: Congestion = new Congestion()
  readonly board: Scoreboard
  readonly ring: SentRing
  mtu: MtuSearch = new MtuSearch(0)

  /** The peer's receive window in bytes. */
  rwnd: number = DEFAULT_RWND
  /** Bytes written and not acknowledged. */
  queuedBytes = 0
  writtenBytes = 0
  ending = false

  timer: TimerKind = TIMER_NONE
  deadline: number = Infinity
  /** When pacing allows more; Infinity when it holds nothing back. */
  paceAt: number = Infinity
  keepaliveMs = 0

  rtoCount = 0
  fastRecoveries = 0

  #host: SenderHost
  #header = createHeader()
  #state = OPEN
  #highMark = 0
  /**
   * A round ends when a packet is acknowledged that was sent after this many had been delivered.
   */
  #roundDelivered = 0
  #roundStart: number
  #roundEnd: number
  #limitedUntil: number
  /** Since when the application has had no data although there was room; -1 while it has. */
  #emptyAt = -1
  /** Up to this packet the application was the limit, not the path. */
  #starvedUntil: number
  #rtoAt = Infinity
  #timeoutAt = -Infinity
  #endSeq = -1
  #lastSentAt = 0
  /** Tail probes since the peer last acknowledged something new. */
  #probes = 0
  #lossDirty = false

  constructor(host: SenderHost, seq: number) {
    this.#host = host
    this.board = new Scoreboard(host.pool, this.rtt, seq)
    this.ring = this.board.ring
    this.#roundStart = seq
    this.#roundEnd = seq
    this.#limitedUntil = seq
    this.#starvedUntil = seq
  }

  get maxPayload(): number {
    return this.mtu.mtu - (this.#host.route?.overhead ?? 0)
  }

  /** Whether data waits that was never sent. */
  get pending(): boolean {
    return this.queue.length > 0 || (this.ending && this.#endSeq < 0)
  }

  write(chunk: Uint8Array): void {
    this.queue.push(chunk)
    this.queuedBytes += chunk.length
    this.writtenBytes += chunk.length
  }

  end(): void {
    this.ending = true
  }

  /** END and everything before it was acknowledged. */
  get endAcked(): boolean {
    return this.#endSeq >= 0 && seqDiff(this.ring.una, this.#endSeq) > 0
  }

  /** Whether an END without data is the only packet that is not acknowledged. */
  get onlyEndLeft(): boolean {
    const { ring } = this
    return ring.span === 1 && ring.una === this.#endSeq && ring.sizes[ring.una & ring.mask] === 0
  }

  /** The peer's window as its newest packet says; an open window ends zero-window probing. */
  onWindow(rwnd: number, now: number): void {
    this.rwnd = rwnd
    if (rwnd > 0 && this.timer === TIMER_ZWP) this.#idleTimer(now)
  }

  /** Evaluates the acknowledgements of one packet: samples, congestion, timer. */
  settle(advanced: boolean, now: number): void {
    const { ring, board, rtt } = this
    const tally = board.takeTally()
    if (tally.packets > 0) {
      this.#probes = 0
      this.queuedBytes -= tally.bytes
      // A round trip that ended only after a timeout would measure the timeout.
      if (tally.sampleSentAt > this.#timeoutAt) {
        const sample = now - tally.sampleSentAt
        rtt.sample(sample, now)
        this.congestion.onRtt(sample, now, rtt)
      }
      this.congestion.onAcked({
        packets: tally.packets,
        now,
        srtt: rtt.srtt,
        limited: seqDiff(ring.una, this.#limitedUntil) <= 0
      })
      if (tally.spurious > 0) this.congestion.onSpurious(tally.spurious)
      if (tally.deliveredBefore >= this.#roundDelivered) {
        const packets = board.delivered - tally.deliveredBefore
        const starved = this.#isStarved(now) || seqDiff(this.#starvedUntil, this.#roundStart) > 0
        const limited = seqDiff(this.#limitedUntil, this.#roundStart) > 0 && !starved
        this.congestion.onRound(packets, tally.deliveryMs, limited)
        this.#roundDelivered = board.delivered
        this.#roundStart = this.#roundEnd
        this.#roundEnd = ring.nxt
      }
      this.mtu.start()
      if (tally.probeBytes > 0) this.mtu.acked(tally.probeBytes)
      if (board.suspicious) this.#lossDirty = true
    }
    if (this.#state !== OPEN && seqDiff(ring.una, this.#highMark) >= 0) {
      this.#state = OPEN
      board.rack.recovered()
      this.congestion.onRecovered()
    }
    if (advanced) this.#afterAdvance(now)
  }

  /** Sends what windows and pacing allow. */
  flush(now: number): void {
    if (this.#host.route === null) return
    if (this.#lossDirty) this.#detect(now)
    this.#send(now)
    if (this.timer === TIMER_NONE && this.ring.span === 0) this.#idleTimer(now)
  }

  /**
   * Called when the deadline may have passed. Returns false when the peer has been silent for too
   * long.
   */
  ontimer(now: number): boolean {
    if (now >= this.paceAt) this.paceAt = Infinity
    if (now < this.deadline) return true
    switch (this.timer) {
      case TIMER_RTO:
        return this.#timeout(now)
      case TIMER_RACK:
        this.#armTail()
        this.#lossDirty = true
        return true
      case TIMER_TLP:
        this.#probeTail(now)
        return true
      case TIMER_ZWP:
        this.#host.sendHeartbeat()
        this.#set(TIMER_ZWP, now + 2 * this.rtt.rto)
        return true
      case TIMER_KEEPALIVE:
        this.#host.sendHeartbeat()
        this.#set(TIMER_KEEPALIVE, now + this.keepaliveMs)
        return true
      default:
        this.#set(TIMER_NONE, Infinity)
        return true
    }
  }

  /** Starts, changes or stops the keepalive. */
  setKeepalive(ms: number, now: number): void {
    this.keepaliveMs = ms
    const idle = this.timer === TIMER_NONE || this.timer === TIMER_KEEPALIVE
    if (idle && this.#host.route !== null) this.#idleTimer(now)
  }

  /** Gives every slot back. */
  close(): void {
    this.board.clear()
    this.queue.clear()
    this.#set(TIMER_NONE, Infinity)
    this.paceAt = Infinity
  }

  #detect(now: number): void {
    this.#lossDirty = false
    const found = this.board.detect(this.#state !== OPEN, now)
    if (found.packets > 0 && this.#state === OPEN) {
      this.#state = RECOVERY
      this.#highMark = this.ring.nxt
      this.fastRecoveries++
    }
    if (found.packets > 0) this.congestion.onLost(found.packets)
    if (found.waitMs > 0) this.#set(TIMER_RACK, Math.min(now + found.waitMs, this.#rtoAt))
    else if (this.timer === TIMER_RACK) this.#armTail()
  }

  /**
   * A round in which the queue was empty for a while measures the application, not the path.
   */
  #isStarved(now: number): boolean {
    return this.#emptyAt >= 0 && now - this.#emptyAt > this.rtt.srtt * STARVED_SHARE
  }

  #send(now: number): void {
    const { ring, board, congestion } = this
    const cwnd = congestion.cwnd
    if (this.pending) {
      if (this.#isStarved(now)) this.#starvedUntil = ring.nxt
      this.#emptyAt = -1
    }
    let tokens = congestion.allowance(now, this.rtt.srtt)
    let spent = 0
    this.paceAt = Infinity
    if (board.lost > 0 && board.inflight >= cwnd) this.#limitedUntil = ring.nxt
    while (board.lost > 0 && board.inflight < cwnd && !this.#host.blocked) {
      if (tokens <= 0) {
        this.paceAt = now + 1
        break
      }
      this.#resend(board.nextLost(), now)
      tokens--
      spent++
    }
    if (board.lost === 0) {
      const window = this.#windowPackets()
      while (this.pending && !ring.full && !this.#host.blocked) {
        if (board.inflight >= cwnd) this.#limitedUntil = ring.nxt
        if (board.inflight >= cwnd || board.inflight >= window) break
        if (tokens <= 0) {
          this.paceAt = now + 1
          break
        }
        this.#sendNew(now, false)
        tokens--
        spent++
      }
    }
    if (!this.pending && this.#emptyAt < 0 && board.inflight < cwnd) this.#emptyAt = now
    congestion.spend(spent)
    if (this.rwnd === 0 && ring.span === 0 && this.pending && this.timer !== TIMER_ZWP) {
      this.#host.sendHeartbeat()
      this.#set(TIMER_ZWP, now + this.rtt.rto)
    }
  }

  #windowPackets(): number {
    return this.rwnd === 0 ? 0 : Math.max(1, Math.floor(this.rwnd / this.maxPayload))
  }

  /** Builds and sends one packet out of the queue. */
  #sendNew(now: number, tail: boolean): void {
    const { ring } = this
    const route = this.#host.route
    if (route === null) return
    if (ring.span === 0) {
      this.congestion.onIdleStart()
      this.#roundDelivered = this.board.delivered
      this.#roundStart = ring.nxt
      this.#roundEnd = ring.nxt
    }
    const size = Math.min(this.queue.length, this.maxPayload)
    const last = this.ending && size === this.queue.length
    const padding = this.#padding(size, tail)
    const slot = this.#host.pool.take()
    const header = this.#header
    header.flags = (size > 0 ? FLAG_DATA : 0) | (last ? FLAG_END : 0)
    header.dataOffset = padding
    header.id = route.remoteId
    header.seq = ring.nxt
    this.#host.stamp(header)
    writeHeader(slot.words, header)
    if (padding > 0) slot.bytes.fill(0, HEADER_BYTES, HEADER_BYTES + padding)
    this.queue.copyTo(slot.bytes, HEADER_BYTES + padding, size)
    sizeSlot(slot, HEADER_BYTES + padding + size)
    if (last) this.#endSeq = ring.nxt
    this.board.push(slot, route, size, padding > 0 ? MARK_PROBE : 0, now)
    this.#host.transmit(slot.packet, route, padding > 0)
    this.#afterSend(now)
  }

  /** Zero bytes to put before a payload so that the packet probes the MTU. */
  #padding(size: number, tail: boolean): number {
    if (tail || !this.mtu.wantsProbe || this.#host.changing || size < this.maxPayload) return 0
    this.mtu.sent()
    return this.mtu.size - this.mtu.mtu
  }

  #resend(seq: number, now: number): void {
    const { ring } = this
    const index = seq & ring.mask
    const slot = ring.slots[index]
    const route = ring.routes[index]
    if (!slot || !route) return
    if ((ring.marks[index]! & MARK_PROBE) !== 0) this.#unpad(slot, index)
    const header = this.#header
    this.#host.stamp(header)
    slot.words[2] = header.rwnd
    slot.words[4] = header.ack
    this.board.resent(seq, now)
    this.#host.transmit(slot.packet, route)
    this.#afterSend(now)
  }

  /** Turns a probe back into the plain packet it pads: same number, same payload. */
  #unpad(slot: Slot, index: number): void {
    const size = this.ring.sizes[index]!
    const at = slot.packet.length - size
    slot.bytes.copyWithin(HEADER_BYTES, at, at + size)
    slot.bytes[3] = 0
    sizeSlot(slot, HEADER_BYTES + size)
    this.ring.marks[index] = this.ring.marks[index]! & ~MARK_PROBE
    this.mtu.lost()
  }

  #afterSend(now: number): void {
    this.#lastSentAt = now
    if (this.timer === TIMER_NONE || this.timer >= TIMER_ZWP) this.#rtoAt = now + this.rtt.rto
    if (this.timer !== TIMER_RACK) this.#armTail()
  }

  /**
   * Waits for the tail probe, or for the timeout if that comes first. Probes are repeated at
   * doubling intervals, as a timeout of a second or more is long on a path of a few ms. Without a
   * measured round trip there are none.
   */
  #armTail(): void {
    const wait = probeTimeoutMs(this.rtt, this.board.inflight) * 2 ** this.#probes
    const at = this.rtt.samples > 0 ? this.#lastSentAt + wait : Infinity
    this.#set(at < this.#rtoAt ? TIMER_TLP : TIMER_RTO, Math.min(at, this.#rtoAt))
  }

  #afterAdvance(now: number): void {
    if (this.ring.span === 0) {
      this.#idleTimer(now)
      return
    }
    this.#rtoAt = now + this.rtt.rto
    this.#armTail()
  }

  #idleTimer(now: number): void {
    this.#rtoAt = Infinity
    if (this.rwnd === 0 && this.pending) this.#set(TIMER_ZWP, now + this.rtt.rto)
    else if (this.keepaliveMs > 0) this.#set(TIMER_KEEPALIVE, now + this.keepaliveMs)
    else this.#set(TIMER_NONE, Infinity)
  }

  /**
   * Sends a packet whose acknowledgement tells what is missing: first new data or the last packet,
   * so that RACK sees all before it; if that stays unanswered, the packet that the peer waits for.
   */
  #probeTail(now: number): void {
    const first = this.#probes++ === 0 && this.#state === OPEN
    if (first) this.#rtoAt = now + this.rtt.rto
    if (first && this.pending && !this.ring.full && this.rwnd > 0) {
      this.#sendNew(now, true)
      return
    }
    const seq = first ? this.board.highestOutstanding() : this.ring.una
    if (seq >= 0) this.#resend(seq, now)
  }

  #timeout(now: number): boolean {
    const { ring, board } = this
    this.rtoCount++
    this.#timeoutAt = now
    if (!board.loseOnTimeout(now)) return false
    if (this.#state !== LOSS) this.congestion.onTimeout()
    this.#state = LOSS
    this.#highMark = ring.nxt
    this.#rtoAt = now + 2 * this.rtt.rto
    this.#armTail()
    // The first packet is sent whatever the window says: it is the one that the peer waits for.
    if (ring.state[ring.una & ring.mask] === STATE_LOST) this.#resend(ring.una, now)
    return true
  }

  #set(timer: TimerKind, deadline: number): void {
    this.timer = timer
    this.deadline = deadline
  }
}
