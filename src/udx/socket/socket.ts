// UDXSocket: a UDP socket with events that many streams share. Demultiplexes what comes in: stream
// packets go to their core, late ones to a tombstone, everything else is a 'message'.
// index.ts makes it, stream.ts connects through it, port.ts does the I/O.

import { EventEmitter } from 'node:events'
import { type Traffic, createTraffic } from '../stream/core.ts'
import { invalidArgument } from '../errors.ts'
import { familyOf, plainAddress, plainFamily, requireFamily } from './ip.ts'
import { Port } from './port.ts'
import type { Outlet } from '../stream/link.ts'
import type { Registry } from './registry.ts'
import type { Turn } from './turn.ts'
import { rethrowLater } from '../rethrow.ts'
import { createHeader, isStreamPacket, readHeader } from '../wire.ts'

const LOCALHOST = '127.0.0.1'
const MAX_TTL = 255

export interface UDXSocketOptions {
  /** Refuse IPv4 on an IPv6 socket. Default: false */
  ipv6Only?: boolean
  /** Let several sockets share the port. Default: false */
  reuseAddress?: boolean
}

/** Source of a datagram; an IPv4-mapped address is reported as IPv4. */
export interface RemoteInfo {
  host: string
  family: 4 | 6
  port: number
}

export interface UDXSocketEvents {
  message: [message: Buffer, from: RemoteInfo]
  listening: []
  close: []
  idle: []
  busy: []
}

/** What a socket and its streams need of their instance, which index.ts has. */
export interface SocketHost {
  readonly turn: Turn
  readonly registry: Registry
  /** Which socket of this instance a bound port belongs to. */
  socketOf(outlet: Outlet): UDXSocket | undefined
  /** A socket of this instance was bound. */
  addPort(outlet: Outlet, socket: UDXSocket): void
}

/** What a socket calls of its streams. */
export interface SocketStream {
  wake(): void
  destroy(): void
}

/** A UDP socket that carries plain datagrams and streams. */
export class UDXSocket extends EventEmitter<UDXSocketEvents> {
  readonly udx: SocketHost
  readonly streams: Set<SocketStream> = new Set()
  userData: unknown = null

  #port: Port | null = null
  #address: RemoteInfo | null = null
  #ipv6Only: boolean
  #reuseAddress: boolean
  #closing: Promise<void> | null = null
  #closed = false
  #header = createHeader()
  #received: Traffic = createTraffic()

  constructor(udx: SocketHost, options: UDXSocketOptions = {}) {
    super()
    this.udx = udx
    this.#ipv6Only = options.ipv6Only === true
    this.#reuseAddress = options.reuseAddress === true
  }

  get bound(): boolean {
    return this.#address !== null
  }

  get closing(): boolean {
    return this.#closing !== null
  }

  get idle(): boolean {
    return this.streams.size === 0
  }

  get busy(): boolean {
    return this.streams.size > 0
  }

  /** Stream traffic only; plain datagrams are not counted. */
  get bytesTransmitted(): number {
    return this.#port?.bytesTransmitted ?? 0
  }

  get packetsTransmitted(): number {
    return this.#port?.packetsTransmitted ?? 0
  }

  get bytesReceived(): number {
    return this.#received.bytesReceived
  }

  get packetsReceived(): number {
    return this.#received.packetsReceived
  }

  /** Bun does not tell it; 0 before bind, -1 after. */
  get packetsDroppedByKernel(): number {
    return this.#port === null ? 0 : -1
  }

  /** The bound port, for streams. */
  get outlet(): Port | null {
    return this.#port
  }

  address(): RemoteInfo | null {
    return this.#address === null ? null : { ...this.#address }
  }

  /** Binds at once. @throws the system's error, and the socket stays unbound. */
  bind(port = 0, host?: string): void {
    if (this.bound) throw new Error('Already bound')
    if (this.closing) throw new Error('Socket is closed')
    if (host) this.#bind(port || 0, host, requireFamily(host))
    else {
      try {
        this.#bind(port || 0, '::', 6)
      } catch {
        this.#bind(port || 0, '0.0.0.0', 4)
      }
    }
    this.emit('listening')
  }

  /** Closes once every stream on it has closed. */
  async close(): Promise<void> {
    if (this.#closing === null) {
      this.#closing = new Promise((resolve) => this.once('close', () => resolve()))
      this.#closeMaybe()
    }
    return this.#closing
  }

  setTTL(ttl: number): void {
    if (!(ttl >= 1 && ttl <= MAX_TTL)) {
      this.#active()
      throw invalidArgument()
    }
    this.#active().setTTL(ttl)
  }

  getRecvBufferSize(): number {
    return this.#active().getReceiveBuffer()
  }

  setRecvBufferSize(bytes: number): void {
    const port = this.#active()
    requireSize(bytes)
    port.setReceiveBuffer(bytes)
  }

  getSendBufferSize(): number {
    return this.#active().getSendBuffer()
  }

  setSendBufferSize(bytes: number): number {
    const port = this.#active()
    requireSize(bytes)
    port.setSendBuffer(bytes)
    return bytes
  }

  addMembership(group: string, interfaceAddress?: string): void {
    this.#setMembership(group, interfaceAddress, true)
  }

  dropMembership(group: string, interfaceAddress?: string): void {
    this.#setMembership(group, interfaceAddress, false)
  }

  /** True when the datagram was handed to the system, even if it was then lost. */
  async send(buffer: Uint8Array, port: number, host?: string, ttl?: number): Promise<boolean> {
    return this.#send(buffer, port, host, ttl)
  }

  /** Like send, without an answer. */
  trySend(buffer: Uint8Array, port: number, host?: string, ttl?: number): void {
    this.#send(buffer, port, host, ttl)
  }

  toJSON(): Record<string, unknown> {
    return {
      bound: this.bound,
      closing: this.closing,
      streams: this.streams.size,
      address: this.address(),
      ipv6Only: this.#ipv6Only,
      reuseAddress: this.#reuseAddress,
      idle: this.idle,
      busy: this.busy
    }
  }

  /** Called by a stream that connects or moves here. */
  addStream(stream: SocketStream): void {
    if (this.streams.has(stream)) return
    this.streams.add(stream)
    if (this.streams.size === 1) this.emit('busy')
  }

  /** Called by a stream that closes or has moved away. */
  removeStream(stream: SocketStream): void {
    if (!this.streams.delete(stream)) return
    if (this.idle && !this.#closeMaybe()) this.emit('idle')
  }

  #bind(port: number, host: string, family: 4 | 6): void {
    this.#port = new Port(this.udx.turn, {
      port,
      host,
      family,
      ipv6Only: this.#ipv6Only && family === 6,
      reuseAddress: this.#reuseAddress,
      onpacket: (bytes, from, address) => this.#onpacket(bytes, from, address),
      ondrain: () => this.#ondrain()
    })
    this.#address = { host, family, port: this.#port.port }
    this.udx.addPort(this.#port, this)
  }

  #active(): Port {
    if (this.#port === null || this.#closed) throw new Error('Socket not active')
    return this.#port
  }

  #send(buffer: Uint8Array, port: number, host?: string, ttl?: number): boolean {
    if (this.closing) return false
    const target = host || LOCALHOST
    requireFamily(target)
    if (ttl !== undefined && !(ttl >= 0 && ttl <= MAX_TTL)) throw invalidArgument()
    if (!this.bound) this.bind(0)
    // The system refuses port 0; a datagram that the system refuses counts as sent.
    if (port > 0 && port < 65536) this.#active().send(buffer, port, target, ttl || 0)
    return true
  }

  #setMembership(group: string, interfaceAddress: string | undefined, join: boolean): void {
    const port = this.#active()
    // Bun takes an invalid address for no interface at all, and joins on the default one.
    if (interfaceAddress && familyOf(interfaceAddress) === 0) throw invalidArgument()
    port.setMembership(group, interfaceAddress || undefined, join)
  }

  #closeMaybe(): boolean {
    if (this.#closed || this.#closing === null) return this.#closed
    if (this.#port === null) {
      this.#closed = true
      this.emit('close')
      return true
    }
    if (!this.idle) return false
    this.#closed = true
    this.udx.registry.dropOutlet(this.#port)
    this.#port.close()
    // 'close' comes after the 'close' of the stream that was the last one on the socket.
    setImmediate(() => this.emit('close'))
    return true
  }

  #onpacket(bytes: Buffer, port: number, address: string): void {
    if (this.#closed || this.#port === null) return
    const { udx } = this
    this.#received.bytesReceived += bytes.length
    this.#received.packetsReceived++
    udx.turn.traffic.bytesReceived += bytes.length
    udx.turn.traffic.packetsReceived++
    try {
      if (isStreamPacket(bytes)) {
        readHeader(bytes, this.#header)
        const core = udx.registry.get(this.#header.id)
        if (core !== undefined) {
          core.onpacket(bytes, this.#header, this.#port, port, address)
          return
        }
        if (udx.registry.answer(this.#header, udx.turn.now())) return
      }
      const host = plainAddress(address)
      this.emit('message', bytes, { host, family: plainFamily(host), port })
    } catch (error) {
      rethrowLater(error)
    }
  }

  #ondrain(): void {
    for (const stream of this.streams) stream.wake()
  }
}

function requireSize(bytes: number): void {
  if (!(bytes > 0)) throw invalidArgument()
}
