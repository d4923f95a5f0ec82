// UDXStream: the streamx interface of a core. Maps writes, ends, destroys and events, and keeps the
// sockets' sets of streams up to date. All protocol decisions are in core.ts.

import { Duplex, type DuplexEvents, Writable } from 'streamx'
import { toBytes } from '../bytes.ts'
import { Core, type CoreOptions } from './core.ts'
import { codedError, invalidArgument } from '../errors.ts'
import { plainAddress, plainFamily, requireFamily } from '../socket/ip.ts'
import type { CloseReason, CoreOwner, Outlet } from './link.ts'
import type { Port } from '../socket/port.ts'
import type { Route } from './rings.ts'
import { rethrowLater } from '../rethrow.ts'
import type { SocketHost, UDXSocket } from '../socket/socket.ts'
import { OVERHEAD_IPV4, OVERHEAD_IPV6 } from '../wire.ts'

const LOCALHOST = '127.0.0.1'
/** Written and unacknowledged bytes beyond the window at which write callbacks are held. */
const HIGH_WATER_BYTES = 262_144

export interface UDXStreamOptions extends CoreOptions {
  /** Whether to refuse a packet from another address than the remote's. Default: refuses all */
  firewall?: (socket: UDXSocket, port: number, host: string, family: 4 | 6) => boolean
}

export interface ConnectOptions {
  /** First sequence number to expect. Default: 0 */
  ack?: number
}

export interface UDXStreamEvents extends DuplexEvents {
  connect: []
  data: [data: Buffer]
  message: [message: Buffer]
  'remote-changed': []
}

type Callback = (error: Error | null) => void

interface Flush {
  /** The flush is done when this many bytes are acknowledged; END counts as one. */
  target: number
  resolve: (flushed: boolean) => void
}

/** A reliable, ordered stream with unordered messages beside it. */
export class UDXStream extends Duplex<UDXStreamEvents> {
  readonly udx: SocketHost
  readonly id: number
  socket: UDXSocket | null = null
  remoteId = 0
  remoteHost: string | null = null
  remoteFamily: 0 | 4 | 6 = 0
  remotePort = 0
  userData: unknown = null

  #core: Core
  #firewall: (socket: UDXSocket, port: number, host: string, family: 4 | 6) => boolean
  #previousSocket: UDXSocket | null = null
  #changing: Promise<void> | null = null
  #onwrite: Callback | null = null
  #ondestroy: Callback | null = null
  #flushes: Flush[] = []

  constructor(udx: SocketHost, id: number, options: UDXStreamOptions = {}) {
    super({ mapWritable: toBuffer, eagerOpen: true })
    this.udx = udx
    this.id = id
    this.#firewall = options.firewall ?? refuseAll
    this.#core = new Core(udx.turn, this.#owner(), id >>> 0, options)
    udx.registry.add(this.#core)
  }

  get connected(): boolean {
    return this.socket !== null
  }

  get mtu(): number {
    return this.#core.sender.mtu.mtu
  }

  /** Smoothed round trip in ms. */
  get rtt(): number {
    return Math.round(this.#core.sender.rtt.srtt)
  }

  get cwnd(): number {
    return this.#core.sender.congestion.cwnd
  }

  /** Bytes in flight, including headers. */
  get inflight(): number {
    return this.#core.sender.board.inflightBytes
  }

  get rtoCount(): number {
    return this.#core.sender.rtoCount
  }

  get retransmits(): number {
    return this.#core.sender.board.retransmits
  }

  get fastRecoveries(): number {
    return this.#core.sender.fastRecoveries
  }

  /** 0 during startup, 2 after it; there is no BBR here, but callers print the number. */
  get bbrState(): number {
    return this.#core.sender.congestion.startup ? 0 : 2
  }

  /** Measured delivery rate in packets per ms. */
  get bbrBandwidth(): number {
    return this.#core.sender.congestion.bandwidth
  }

  get bytesTransmitted(): number {
    return this.#core.traffic.bytesTransmitted
  }

  get packetsTransmitted(): number {
    return this.#core.traffic.packetsTransmitted
  }

  get bytesReceived(): number {
    return this.#core.traffic.bytesReceived
  }

  get packetsReceived(): number {
    return this.#core.traffic.packetsReceived
  }

  get localHost(): string | null {
    return this.socket?.address()?.host ?? null
  }

  get localFamily(): number {
    return this.socket?.address()?.family ?? 0
  }

  get localPort(): number {
    return this.socket?.address()?.port ?? 0
  }

  /** There is only one mode. */
  setInteractive(_interactive: boolean): void {}

  /** Sends a heartbeat whenever nothing was in flight for `ms`; 0 stops that. */
  setKeepalive(ms: number): void {
    if (!this.#core.closed) this.#core.setKeepalive(ms > 0 ? ms : 0)
  }

  /** Sets the remote; nothing is sent, since UDX has no handshake. */
  connect(
    socket: UDXSocket,
    remoteId: number,
    port: number,
    host?: string | ConnectOptions | null,
    options: ConnectOptions = {}
  ): void {
    if (this.#core.closed) return
    if (this.connected) throw new Error('Already connected')
    if (socket.closing) throw new Error('Socket is closed')
    const named = typeof host === 'object' ? LOCALHOST : host || LOCALHOST
    const { ack } = typeof host === 'object' && host !== null ? host : options
    const route = createRoute(socket, remoteId, port, named)
    const outlet = boundPort(socket)
    this.#setRemote(socket, remoteId, port, named)
    this.#core.connect(outlet, route, ack || undefined)
    socket.addStream(this)
    this.emit('connect')
  }

  /**
   * Moves to another remote or socket. Null when that is done at once; otherwise a promise for the
   * acknowledgement of everything sent to the old one.
   */
  changeRemote(
    socket: UDXSocket,
    remoteId: number,
    port: number,
    host?: string | null
  ): Promise<void> | null {
    if (this.#changing !== null) throw new Error('Remote already changing')
    if (this.socket === null) throw new Error('Not yet connected')
    if (socket.closing) throw new Error('Socket is closed')
    if (this.socket.udx !== socket.udx) {
      throw new Error('Cannot change to a socket on another UDX instance')
    }
    const named = host || LOCALHOST
    const route = createRoute(socket, remoteId, port, named)
    const outlet = boundPort(socket)
    if (this.socket !== socket) this.#previousSocket = this.socket
    this.#setRemote(socket, remoteId, port, named)
    this.#changing = this.#untilChanged()
    this.#core.changeRemote(outlet, route)
    // A 'remote-changed' handler may have moved or destroyed the stream already.
    if (this.socket === socket) socket.addStream(this)
    return this.#changing
  }

  /** Forwards everything that comes for this stream to the remote of another one. */
  relayTo(destination: UDXStream): void {
    if (this.#core.closed) return
    if (this.#core.relayTarget !== null || destination.#core.closed) {
      throw invalidArgument()
    }
    this.#core.relayTo(destination.#core)
  }

  /** Sends one unordered, unreliable message. */
  async send(buffer: Uint8Array): Promise<boolean> {
    if (!this.connected || this.#core.closed) return false
    this.#core.sendMessage(toBytes(buffer))
    return true
  }

  /** Like send, without an answer. */
  trySend(buffer: Uint8Array): void {
    if (this.connected && !this.#core.closed) this.#core.sendMessage(toBytes(buffer))
  }

  /** Waits until everything written so far is acknowledged. */
  async flush(): Promise<boolean> {
    if ((await Writable.drained(this)) === false) return false
    if (this.destroying) return false
    const target = this.#target()
    if (this.#acked() >= target) return true
    return new Promise((resolve) => this.#flushes.push({ target, resolve }))
  }

  toJSON(): Record<string, unknown> {
    return {
      id: this.id,
      connected: this.connected,
      destroying: this.destroying,
      destroyed: this.destroyed,
      remoteId: this.remoteId,
      remoteHost: this.remoteHost,
      remoteFamily: this.remoteFamily,
      remotePort: this.remotePort,
      mtu: this.mtu,
      rtt: this.rtt,
      cwnd: this.cwnd,
      inflight: this.inflight,
      socket: this.socket ? this.socket.toJSON() : null
    }
  }

  /** The socket takes packets again. */
  wake(): void {
    if (!this.#core.closed) this.udx.turn.wake(this.#core)
  }

  override _read(cb: Callback): void {
    this.#core.onread()
    cb(null)
  }

  override _writev(batch: unknown[], cb: Callback): void {
    if (!this.connected) {
      throw codedError('ERR_ASSERTION', 'Writing while not connected not currently supported')
    }
    for (const chunk of batch) {
      if (!(chunk instanceof Uint8Array))
        return cb(new TypeError('Only bytes and strings can be written'))
      this.#core.write(chunk)
    }
    if (this.#mustHold()) this.#onwrite = cb
    else cb(null)
  }

  override _final(cb: Callback): void {
    this.#core.end()
    cb(null)
  }

  /** Only an explicit destroy gets here; a graceful end does not tell the peer. */
  override _predestroy(): void {
    this.#core.destroy()
    this.#releaseWrite()
  }

  override _destroy(cb: Callback): void {
    if (this.connected) this.#ondestroy = cb
    else cb(null)
  }

  #owner(): CoreOwner {
    return {
      ondata: (data) => {
        this.push(data)
      },
      onend: () => {
        this.push(null)
      },
      onmessage: (data) => this.#emitSafely('message', asBuffer(data)),
      onack: () => this.#onack(),
      onremotechanged: () => this.#onremotechanged(),
      unreadBytes: () => unreadBytes(this),
      onfirewall: (outlet, port, address) => this.#onfirewall(outlet, port, address),
      onclose: (reason) => this.#onclose(reason)
    }
  }

  #setRemote(socket: UDXSocket, remoteId: number, port: number, host: string): void {
    this.socket = socket
    this.remoteId = remoteId
    this.remotePort = port
    this.remoteHost = host
    this.remoteFamily = requireFamily(host)
  }

  #untilChanged(): Promise<void> {
    return new Promise((resolve, reject) => {
      const onchanged = (): void => {
        this.off('close', onclose)
        resolve()
      }
      const onclose = (): void => {
        this.off('remote-changed', onchanged)
        reject(new Error('Stream is closed'))
      }
      this.once('remote-changed', onchanged).once('close', onclose)
    })
  }

  #onremotechanged(): void {
    this.#previousSocket?.removeStream(this)
    this.#previousSocket = null
    this.#changing = null
    this.#emitSafely('remote-changed')
  }

  #onfirewall(outlet: Outlet, port: number, address: string): boolean {
    const socket = this.udx.socketOf(outlet)
    const host = plainAddress(address)
    return socket === undefined || this.#firewall(socket, port, host, plainFamily(host))
  }

  #onack(): void {
    const acked = this.#acked()
    while (this.#flushes[0] !== undefined && this.#flushes[0].target <= acked) {
      this.#flushes.shift()?.resolve(true)
    }
    if (this.#onwrite !== null && !this.#mustHold()) this.#releaseWrite()
  }

  #onclose(reason: CloseReason): void {
    this.udx.registry.remove(this.#core, reason === 'done', this.udx.turn.now())
    const { socket } = this
    this.socket = null
    // Cancelled work counts as done.
    for (const { resolve } of this.#flushes.splice(0)) resolve(true)
    socket?.removeStream(this)
    if (this.#previousSocket !== socket) this.#previousSocket?.removeStream(this)
    this.#previousSocket = null
    // A waiting write stays held until destroy() below releases it: streamx would write the ones
    // after it to a stream that no longer has a socket.
    const error = errorOf(reason)
    const ondestroy = this.#ondestroy
    this.#ondestroy = null
    if (ondestroy !== null) ondestroy(error)
    else if (error !== null) this.destroy(error)
    else if (reason === 'relay') this.destroy()
  }

  #releaseWrite(): void {
    const cb = this.#onwrite
    this.#onwrite = null
    cb?.(null)
  }

  #mustHold(): boolean {
    const { sender } = this.#core
    const window = Math.min(sender.congestion.cwnd * sender.maxPayload, sender.rwnd)
    return sender.queuedBytes > HIGH_WATER_BYTES + window
  }

  #target(): number {
    const { sender } = this.#core
    return sender.writtenBytes + (sender.ending ? 1 : 0)
  }

  #acked(): number {
    const { sender } = this.#core
    return sender.board.ackedBytes + (sender.endAcked ? 1 : 0)
  }

  #emitSafely<E extends 'message' | 'remote-changed'>(name: E, ...args: UDXStreamEvents[E]): void {
    try {
      this.emit(name, ...args)
    } catch (error) {
      rethrowLater(error)
    }
  }
}

function createRoute(socket: UDXSocket, remoteId: number, port: number, host: string): Route {
  const family = requireFamily(host)
  if (!(port > 0 && port < 65536)) throw new Error(`${port} is not a valid port`)
  if (!socket.bound) socket.bind(0)
  // On an IPv6 socket IPv4 destinations are mapped, and count as IPv6 as in libudx.
  const six = family === 6 || socket.outlet?.family === 6
  return { remoteId: remoteId >>> 0, host, port, overhead: six ? OVERHEAD_IPV6 : OVERHEAD_IPV4 }
}

function boundPort(socket: UDXSocket): Port {
  const { outlet } = socket
  if (outlet === null) throw new Error('Socket is closed')
  return outlet
}

function errorOf(reason: CloseReason): Error | null {
  switch (reason) {
    case 'reset':
      return codedError('ECONNRESET', 'connection reset by peer')
    case 'timeout':
      return codedError('ETIMEDOUT', 'connection timed out')
    default:
      return null
  }
}

/** streamx counts the bytes that the application has not read, but its types do not show it. */
function unreadBytes(stream: Duplex<UDXStreamEvents>): number {
  const { _readableState: state } = stream as unknown as { _readableState: { buffered: number } }
  return state.buffered
}

function toBuffer(data: unknown): unknown {
  return typeof data === 'string' || ArrayBuffer.isView(data) ? toBytes(data) : data
}

function asBuffer(data: Uint8Array): Buffer {
  return Buffer.isBuffer(data) ? data : Buffer.from(data.buffer, data.byteOffset, data.length)
}

function refuseAll(): boolean {
  return true
}
