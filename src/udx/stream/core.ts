// The transport state machine of one UDX stream: connects the sending and receiving halves, applies
// the rules of packet processing, closing, relaying and change of remote. No I/O of its own: it
// acts through Link and Outlet and tells its owner (stream.ts) what happened. turn.ts calls flush()
// and ontimer(), socket.ts calls onpacket().

import type { CloseReason, CoreOwner, Link, Outlet } from './link.ts'
import type { SlotPool } from './slots.ts'
import { sizeSlot } from './slots.ts'
import { Receiver } from './receiver.ts'
import type { Route } from './rings.ts'
import { MtuSearch } from './recovery.ts'
import { Sender, type SenderHost } from './sender.ts'
import {
  DEFAULT_RWND,
  FLAG_DATA,
  FLAG_DESTROY,
  FLAG_END,
  FLAG_HEARTBEAT,
  FLAG_MESSAGE,
  FLAG_SACK,
  type Header,
  HEADER_BYTES,
  createHeader,
  isSackRangeValid,
  readU32,
  sackArea,
  seqAdd,
  seqDiff,
  writeHeader,
  writeU32
} from '../wire.ts'

/** Tell the peer of a reopened window when at least this much has become free. */
const WINDOW_UPDATE_BYTES = 1024 * 1024

/** Counters of one direction pair, in datagrams and their bytes without IP and UDP headers. */
export interface Traffic {
  bytesTransmitted: number
  packetsTransmitted: number
  bytesReceived: number
  packetsReceived: number
}

/** A zeroed traffic record. */
export function createTraffic(): Traffic {
  return { bytesTransmitted: 0, packetsTransmitted: 0, bytesReceived: 0, packetsReceived: 0 }
}

export interface CoreOptions {
  /** First sequence number to send. Default: 0 */
  seq?: number
  /** Join payloads along frames. Default: false */
  framed?: boolean
}

/** One end of a stream, without I/O. */
export class Core implements SenderHost {
  readonly id: number
  readonly traffic: Traffic = createTraffic()
  readonly sender: Sender
  readonly receiver: Receiver
  readonly pool: SlotPool

  /** Held by the turn: already in line for flush(). */
  awake = false
  closed = false
  route: Route | null = null
  outlet: Outlet | null = null
  relayTarget: Core | null = null

  #link: Link
  #owner: CoreOwner
  #header: Header = createHeader()
  #relays = new Set<Core>()
  #wl1 = 0
  #wl2: number
  #changeSeq = -1
  #ended = false

  constructor(link: Link, owner: CoreOwner, id: number, options: CoreOptions = {}) {
    this.#link = link
    this.#owner = owner
    this.id = id
    this.pool = link.pool
    const seq = (options.seq ?? 0) >>> 0
    this.sender = new Sender(this, seq)
    this.receiver = new Receiver(0, options.framed === true, (data) => owner.ondata(data))
    this.#wl2 = seq
  }

  get connected(): boolean {
    return this.route !== null && !this.closed
  }

  get blocked(): boolean {
    return this.outlet?.blocked ?? true
  }

  get changing(): boolean {
    return this.#changeSeq >= 0
  }

  /** Sets the remote. Sends nothing but an acknowledgement that is due. */
  connect(outlet: Outlet, route: Route, ack?: number): void {
    if (this.closed) return
    if (ack !== undefined) {
      this.receiver.reset(ack >>> 0)
      this.#wl1 = ack >>> 0
    }
    this.outlet = outlet
    this.route = route
    this.sender.mtu = new MtuSearch(outlet.mtuLimit)
    this.#wake()
    this.#emitEnd()
  }

  /** Moves to another remote; true when that is complete at once. */
  changeRemote(outlet: Outlet, route: Route): boolean {
    this.outlet = outlet
    this.route = route
    this.sender.mtu.reset()
    const { ring, pending } = this.sender
    if (ring.span === 0 && !pending) {
      this.#owner.onremotechanged()
      return true
    }
    // Written bytes that wait for the end of the turn count like a packet that is under way.
    this.#changeSeq = ring.span === 0 ? seqAdd(ring.nxt, 1) : ring.nxt
    return false
  }

  write(chunk: Uint8Array): void {
    this.sender.write(chunk)
    this.#wake()
  }

  end(): void {
    this.sender.end()
    this.#wake()
  }

  /** Sends one unordered, unreliable message at the end of this turn. */
  sendMessage(payload: Uint8Array): void {
    const { route, outlet } = this
    if (route === null || outlet === null || this.closed) return
    const packet = new Uint8Array(HEADER_BYTES + payload.length)
    const header = this.#header
    header.flags = FLAG_MESSAGE
    header.dataOffset = 0
    header.id = route.remoteId
    header.seq = this.sender.ring.nxt
    this.#fill(header)
    writeHeader(new Uint32Array(packet.buffer, 0, HEADER_BYTES >> 2), header)
    packet.set(payload, HEADER_BYTES)
    this.transmit(packet, route)
  }

  setKeepalive(ms: number): void {
    this.sender.setKeepalive(ms, this.#link.now())
    this.#rearm()
  }

  /** All data received for this stream is forwarded to `target`'s remote from now on. */
  relayTo(target: Core): void {
    this.relayTarget = target
    target.#relays.add(this)
  }

  /** Tells the peer and closes. */
  destroy(): void {
    if (this.closed) return
    const { route, outlet, relayTarget } = this
    if (route !== null && outlet !== null && relayTarget === null) {
      // A stream that has finished says so at once in libudx: its last bytes still leave.
      if (this.sender.ending) this.sender.flush(this.#link.now())
      this.#sendControl(FLAG_DESTROY)
      outlet.flush()
    }
    this.close('destroyed')
  }

  /** Closes without telling the peer. */
  close(reason: CloseReason): void {
    if (this.closed) return
    this.closed = true
    this.#link.disarm(this)
    this.sender.close()
    this.receiver.close()
    if (this.relayTarget !== null) this.relayTarget.#relays.delete(this)
    this.#owner.onclose(reason)
    for (const relay of this.#relays) relay.close('relay')
  }

  /** The end of a turn: repair, new data, the acknowledgement. */
  flush(): void {
    if (this.closed || this.route === null) return
    this.sender.flush(this.#link.now())
    if (this.receiver.ackPending) this.#sendAck()
    this.#rearm()
  }

  ontimer(): void {
    if (this.closed) return
    if (!this.sender.ontimer(this.#link.now())) {
      // All data has arrived and the peer ended too: it closed, and its last packet got lost.
      this.close(this.#ended && this.sender.onlyEndLeft ? 'done' : 'timeout')
      return
    }
    this.#rearm()
    this.#wake()
  }

  /** The application has read; reopen a window that had become small. */
  onread(): void {
    if (this.closed || this.route === null) return
    const { receiver } = this
    if (receiver.advertised > DEFAULT_RWND - WINDOW_UPDATE_BYTES) return
    const window = receiver.window(this.#owner.unreadBytes() + receiver.heldBytes)
    if (window - receiver.advertised < WINDOW_UPDATE_BYTES) return
    receiver.ackPending = true
    this.#wake()
  }

  /** Processes one packet whose header was read into `header`. */
  onpacket(bytes: Uint8Array, header: Header, from: Outlet, port: number, address: string): void {
    if (this.outlet !== from) {
      if (port === 0) return
      if (this.#owner.onfirewall(from, port, address)) return
      if (this.closed) return
    }
    this.traffic.bytesReceived += bytes.length
    this.traffic.packetsReceived++
    if (this.relayTarget !== null) this.#forward(bytes, header)
    else this.#process(bytes, header)
  }

  // SenderHost

  stamp(header: Header): void {
    this.#fill(header)
    // A packet that carries the acknowledgement saves sending one for it alone.
    if (!this.receiver.hasGaps) this.receiver.ackPending = false
  }

  transmit(packet: Uint8Array, route: Route, isProbe = false): void {
    this.traffic.bytesTransmitted += packet.length
    this.traffic.packetsTransmitted++
    this.outlet?.queue(packet, route, isProbe)
  }

  sendHeartbeat(): void {
    this.#sendControl(FLAG_HEARTBEAT)
  }

  #forward(bytes: Uint8Array, header: Header): void {
    const target = this.relayTarget
    if (target === null) return
    const { route, outlet } = target
    if (route !== null && outlet !== null && !target.closed) {
      writeU32(bytes, 4, route.remoteId)
      target.transmit(bytes, route)
    }
    if ((header.flags & FLAG_DESTROY) !== 0) this.close('reset')
  }

  #process(bytes: Uint8Array, header: Header): void {
    const { flags, seq, ack } = header
    const { sender, receiver } = this
    if ((flags & FLAG_HEARTBEAT) !== 0) {
      receiver.ackPending = true
      return this.#wake()
    }
    const isSack = (flags & FLAG_SACK) !== 0
    const skip = HEADER_BYTES + header.dataOffset
    if (skip > bytes.length) return
    const now = this.#link.now()
    let mustAck = (flags & (FLAG_DATA | FLAG_END)) !== 0
    if (mustAck) {
      mustAck = receiver.accept(seq, flags, bytes.subarray(skip), this.#owner.unreadBytes())
    }
    if ((flags & FLAG_DESTROY) !== 0 && seqDiff(seq, receiver.nxt) >= 0) return this.close('reset')
    if ((flags & FLAG_MESSAGE) !== 0) {
      this.#owner.onmessage(bytes.subarray(skip))
      if (this.closed) return
    }
    if (seqDiff(ack, sender.ring.nxt) > 0) return
    this.#window(header, now)
    const advanced = seqDiff(ack, sender.ring.una) > 0
    if (advanced) sender.board.acknowledge(ack, now)
    if (isSack) this.#sack(bytes, header.dataOffset, now)
    sender.settle(advanced, now)
    if (mustAck) receiver.ackPending = true
    if (this.#changeSeq >= 0 && seqDiff(ack, this.#changeSeq) >= 0) {
      this.#changeSeq = -1
      this.#owner.onremotechanged()
      if (this.closed) return
    }
    this.#emitEnd()
    if (this.closed) return
    if (sender.endAcked && this.#ended) return this.#finish()
    this.#wake()
    if (advanced || isSack) this.#owner.onack()
  }

  /** Takes the peer's window, unless a newer packet has set it. */
  #window(header: Header, now: number): void {
    const { seq, ack, rwnd } = header
    if (seqDiff(ack, this.sender.ring.una) < 0) return
    const newer = seqDiff(this.#wl1, seq)
    if (newer > 0 || (newer === 0 && seqDiff(this.#wl2, ack) > 0)) return
    this.#wl1 = seq
    this.#wl2 = ack
    this.sender.onWindow(rwnd, now)
  }

  #sack(bytes: Uint8Array, dataOffset: number, now: number): void {
    const { sender } = this
    const [at, pairs] = sackArea(bytes.length, dataOffset)
    let cursor = sender.ring.una
    for (let i = 0; i < pairs; i++) {
      const start = readU32(bytes, at + i * 8)
      const end = readU32(bytes, at + i * 8 + 4)
      if (!isSackRangeValid(start, end, sender.ring.una, sender.ring.nxt)) continue
      // Ranges ascend, so that no packet can make us go through the same range again and again.
      if (seqDiff(end, cursor) <= 0) continue
      sender.board.sack(seqDiff(start, cursor) < 0 ? cursor : start, end, now)
      cursor = end
    }
  }

  /** EOF, once, when END has come in order and the stream is connected. */
  #emitEnd(): void {
    if (this.#ended || !this.receiver.ended || this.route === null) return
    this.#ended = true
    this.receiver.finish()
    this.#owner.onend()
  }

  /** Both sides have ended: the last acknowledgement, then close. */
  #finish(): void {
    if (this.receiver.ackPending && this.route !== null) {
      this.#sendAck()
      this.outlet?.flush()
    }
    this.#owner.onack()
    this.close('done')
  }

  #sendAck(): void {
    const { receiver } = this
    receiver.ackPending = false
    this.#sendControl(receiver.hasGaps ? FLAG_SACK : 0)
  }

  /** Sends a packet without payload, which takes no sequence number. */
  #sendControl(flags: number): void {
    const { route, outlet } = this
    if (route === null || outlet === null) return
    const slot = this.pool.take()
    const header = this.#header
    header.flags = flags
    header.dataOffset = 0
    header.id = route.remoteId
    header.seq = this.sender.ring.nxt
    this.#fill(header)
    writeHeader(slot.words, header)
    const pairs = flags === FLAG_SACK ? this.receiver.ranges(slot.words, HEADER_BYTES >> 2) : 0
    sizeSlot(slot, HEADER_BYTES + pairs * 8)
    this.transmit(slot.packet, route)
    outlet.release(slot)
  }

  #fill(header: Header): void {
    const { receiver } = this
    const window = receiver.window(this.#owner.unreadBytes())
    receiver.advertised = window
    header.rwnd = window
    header.ack = receiver.nxt
  }

  #wake(): void {
    if (this.route !== null && !this.closed) this.#link.wake(this)
  }

  #rearm(): void {
    if (this.closed) return
    const { sender } = this
    const deadline = Math.min(sender.deadline, sender.paceAt)
    if (deadline === Infinity) this.#link.disarm(this)
    else this.#link.arm(this, deadline)
  }
}
