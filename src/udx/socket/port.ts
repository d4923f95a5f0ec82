// A bound UDP port on Bun.udpSocket: synchronous bind, batched sending, one-off TTL, and what to do
// when the kernel refuses. Knows no streams and no packet formats.

import type { Traffic } from '../stream/core.ts'
import type { Outlet } from '../stream/link.ts'
import type { Route } from '../stream/rings.ts'
import type { Slot, SlotPool } from '../stream/slots.ts'
import {
  getReceiveBuffer,
  getSendBuffer,
  ignoreIcmpErrors,
  setDontFragment,
  setMappedTTL,
  setReceiveBuffer,
  setSendBuffer
} from './sockopt.ts'
import type { Flushable } from './turn.ts'
import { MTU_MAX } from '../wire.ts'

export const DEFAULT_TTL = 64
/** 5 MB from a native peer overflow the usual 208 KiB and cost a thousand retransmissions. */
const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
const SEND_BUFFER_BYTES = 1024 * 1024
const FLAG_IPV6_ONLY = 8
const FLAG_REUSE_ADDRESS = 16
/** Packets kept while the kernel's buffer is full; the rest is lost like on any full link. */
const MAX_BACKLOG = 4096

export interface PortOptions {
  port: number
  host: string
  family: 4 | 6
  ipv6Only: boolean
  reuseAddress: boolean
  onpacket(bytes: Buffer, port: number, address: string): void
  /** Called when the kernel takes packets again. */
  ondrain(): void
}

interface Datagram {
  bytes: Uint8Array
  port: number
  host: string
  ttl: number
}

// flags and fd are there in Bun 1.4 and not in its types.
type BindOptions = Bun.udp.SocketOptions<'buffer'> & { flags: number }
type BunSocket = Bun.udp.Socket<'buffer'> & { fd?: number }
/** Opens a socket; its promise is already fulfilled. Tests hand in one that refuses to send. */
export type OpenSocket = (options: BindOptions) => Promise<BunSocket>

/** What a port needs of the turn. */
export interface PortTurn {
  readonly pool: SlotPool
  readonly traffic: Traffic
  wakeSocket(socket: Flushable): void
}

/** A bound port. Construction binds, or throws the system's error. */
export class Port implements Outlet {
  readonly port: number
  readonly family: 4 | 6
  readonly mtuLimit: number
  blocked = false
  bytesTransmitted = 0
  packetsTransmitted = 0

  #socket: BunSocket
  #fd: number
  #turn: PortTurn
  #pool: SlotPool
  #ondrain: () => void
  #ttl = DEFAULT_TTL
  #batch: (Uint8Array | number | string)[] = []
  #slots: Slot[] = []
  #backlog: Datagram[] = []

  constructor(turn: PortTurn, options: PortOptions, open: OpenSocket = Bun.udpSocket) {
    this.#turn = turn
    this.#pool = turn.pool
    this.#ondrain = options.ondrain
    this.family = options.family
    this.#socket = bind(options, open, () => this.#drain())
    this.port = this.#socket.port
    this.#fd = this.#socket.fd ?? -1
    ignoreIcmpErrors(this.#fd)
    setReceiveBuffer(this.#fd, RECEIVE_BUFFER_BYTES)
    setSendBuffer(this.#fd, SEND_BUFFER_BYTES)
    const { family } = options
    this.mtuLimit = setDontFragment(this.#fd, family, true) ? MTU_MAX : 0
    // Only probes leave with DF: networks under 1,200 bytes (tunnels, MTU 576) would drop all else.
    setDontFragment(this.#fd, family, false)
  }

  queue(packet: Uint8Array, route: Route, isProbe = false): void {
    if (!isProbe && this.#batch.length === 0) this.#turn.wakeSocket(this)
    if (isProbe) this.#sendProbe({ bytes: packet, port: route.port, host: route.host, ttl: 0 })
    else this.#batch.push(packet, route.port, route.host)
    this.bytesTransmitted += packet.length
    this.packetsTransmitted++
    this.#turn.traffic.bytesTransmitted += packet.length
    this.#turn.traffic.packetsTransmitted++
  }

  release(slot: Slot): void {
    this.#slots.push(slot)
  }

  flush(): void {
    const batch = this.#batch
    if (batch.length === 0) return
    this.#batch = []
    const sent = this.blocked ? 0 : this.#sendBatch(batch)
    for (let i = sent; i < batch.length; i += 3) this.#keep(datagramAt(batch, i), true)
    for (const slot of this.#slots) this.#pool.give(slot)
    this.#slots.length = 0
  }

  /** Sends one datagram at once, with a TTL of its own when that is not 0. */
  send(bytes: Uint8Array, port: number, host: string, ttl: number): void {
    const datagram = { bytes, port, host, ttl }
    if (this.blocked || !this.#sendOne(datagram)) this.#keep(datagram, true)
  }

  /** @throws the system's error for a TTL that it does not take. */
  setTTL(ttl: number): void {
    this.#applyTTL(ttl)
    this.#ttl = ttl
  }

  getReceiveBuffer(): number {
    return getReceiveBuffer(this.#fd)
  }

  setReceiveBuffer(bytes: number): boolean {
    return setReceiveBuffer(this.#fd, bytes)
  }

  getSendBuffer(): number {
    return getSendBuffer(this.#fd)
  }

  setSendBuffer(bytes: number): boolean {
    return setSendBuffer(this.#fd, bytes)
  }

  setMembership(group: string, interfaceAddress: string | undefined, join: boolean): void {
    const socket = this.#socket
    if (join) socket.addMembership(group, interfaceAddress)
    else socket.dropMembership(group, interfaceAddress)
  }

  close(): void {
    this.flush()
    this.#backlog = []
    this.#socket.close()
  }

  /** Returns the index after the last packet that was sent or dropped. */
  #sendBatch(batch: (Uint8Array | number | string)[]): number {
    let at = 0
    while (at < batch.length) {
      try {
        const rest = at === 0 ? batch : batch.slice(at)
        at += this.#socket.sendMany(rest) * 3
      } catch {
        // The first of the remaining packets was refused; it gets a second chance by itself below.
      }
      if (at >= batch.length) break
      if (!this.#sendOne(datagramAt(batch, at))) return at
      at += 3
    }
    return at
  }

  /** Sends one datagram that arrives whole or not at all. */
  #sendProbe(datagram: Datagram): void {
    this.flush()
    setDontFragment(this.#fd, this.family, true)
    const isTaken = !this.blocked && this.#sendOne(datagram)
    setDontFragment(this.#fd, this.family, false)
    if (!isTaken) this.#keep(datagram, true)
  }

  /** False when the kernel's buffer is full. A datagram that is refused counts as sent. */
  #sendOne({ bytes, port, host, ttl }: Datagram): boolean {
    const own = ttl !== 0 && ttl !== this.#ttl
    if (own) this.#applyTTL(ttl)
    try {
      // The error may belong to an earlier datagram and then says nothing about this one.
      return this.#trySend(bytes, port, host) ?? this.#trySend(bytes, port, host) ?? true
    } finally {
      if (own) this.#applyTTL(this.#ttl)
    }
  }

  #applyTTL(ttl: number): void {
    this.#socket.setTTL(ttl)
    if (this.family === 6) setMappedTTL(this.#fd, ttl)
  }

  #trySend(bytes: Uint8Array, port: number, host: string): boolean | null {
    try {
      return this.#socket.send(bytes, port, host)
    } catch {
      return null
    }
  }

  #keep(datagram: Datagram, copy: boolean): void {
    this.blocked = true
    if (this.#backlog.length >= MAX_BACKLOG) return
    this.#backlog.push(copy ? { ...datagram, bytes: new Uint8Array(datagram.bytes) } : datagram)
  }

  #drain(): void {
    const backlog = this.#backlog
    this.#backlog = []
    this.blocked = false
    for (const datagram of backlog) {
      if (this.blocked || !this.#sendOne(datagram)) this.#keep(datagram, false)
    }
    if (!this.blocked) this.#ondrain()
  }
}

function bind(options: PortOptions, open: OpenSocket, ondrain: () => void): BunSocket {
  const { port, host, ipv6Only, reuseAddress, onpacket } = options
  const request: BindOptions = {
    hostname: host,
    port,
    flags: (ipv6Only ? FLAG_IPV6_ONLY : 0) | (reuseAddress ? FLAG_REUSE_ADDRESS : 0),
    socket: {
      data: (_socket, bytes, port, address) => onpacket(bytes, port, address),
      drain: ondrain,
      // Without a handler an ICMP error would be an uncaught exception; a datagram may get lost.
      error: () => undefined
    }
  }
  const socket = Bun.peek(open(request))
  if (socket instanceof Promise) throw new Error('UDP bind did not complete synchronously')
  return socket
}

function datagramAt(batch: (Uint8Array | number | string)[], at: number): Datagram {
  const bytes = batch[at]
  const port = batch[at + 1]
  const host = batch[at + 2]
  if (!(bytes instanceof Uint8Array) || typeof port !== 'number' || typeof host !== 'string') {
    throw new TypeError('Packet batch is out of step')
  }
  return { bytes, port, host, ttl: 0 }
}
