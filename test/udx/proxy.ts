// A UDP forwarder that spoils traffic on purpose: loss, duplicates, reordering, delay, corruption,
// rules for single packets, cuts. Seeded: the same packets in the same order meet the same fate.
// Every client address gets its own upstream socket, so the target tells clients apart. Knows UDX
// only to name a packet's fields to rules; anything over UDP can pass.
import dgram from 'node:dgram'
import { once } from 'node:events'
import { type Random, seededRandom } from '../../src/base/random.ts'
import { decodePacket, type Packet } from './packet.ts'

/** `up` is from a client to the target, `down` is back. */
export type Direction = 'up' | 'down'

/** What happens to packets at random; chances are 0 to 1. */
export interface Impairment {
  drop?: number
  duplicate?: number
  /** Chance to be overtaken by the next 1 to 8 packets (by none when 10 ms pass first). */
  reorder?: number
  /** Chance that one bit is flipped in the bytes [from, to) of `corruptWithin`. */
  corrupt?: number
  /** Default the whole packet. */
  corruptWithin?: [from: number, to: number]
  /** Milliseconds added to every packet. */
  delayMs?: number
  /** Up to so many milliseconds more, uniform: overtaking follows from it. */
  jitterMs?: number
}

export interface Passing {
  direction: Direction
  /** How many packets went the same way before this one, all clients together. */
  index: number
  bytes: Buffer
  /** Set when the datagram looks like a UDX stream packet. */
  udx: Packet | undefined
  /** `host:port` of the client end. */
  client: string
}

export interface Rule {
  match: (packet: Passing) => boolean
  action: 'drop' | 'duplicate' | 'corrupt'
  /** Bytes of which one bit is flipped, for 'corrupt'; default the whole packet. */
  within?: [from: number, to: number]
  /** Forget the rule after so many hits; default never. */
  times?: number
}

export interface ProxyOptions {
  target: { port: number; host?: string }
  seed: number
  /** Where clients send to; default port 0 on 127.0.0.1. */
  bind?: { port?: number; host?: string }
  up?: Impairment
  down?: Impairment
  rules?: Rule[]
  /** Sees every packet before any fate; for counting. */
  onpacket?: (packet: Passing) => void
  /** Packets of further client addresses are dropped; default 1024. */
  maxClients?: number
}

export interface Tally {
  received: number
  forwarded: number
  dropped: number
  duplicated: number
  reordered: number
  corrupted: number
}

interface Held {
  left: number
  release: () => void
}

interface Lane {
  direction: Direction
  impairment: Impairment
  random: Random
  held: Set<Held>
  tally: Tally
}

const SOCKET_BYTES = 4 << 20
const OVERTAKEN_BY = 8
const HELD_MS = 10

export class UdpProxy {
  readonly #lanes: Record<Direction, Lane>
  readonly #clients = new Map<string, dgram.Socket>()
  readonly #bound = new WeakMap<dgram.Socket, Promise<void>>()
  readonly #target: { port: number; host: string }
  readonly #rules: Set<Rule>
  readonly #onpacket: ((packet: Passing) => void) | undefined
  readonly #maxClients: number
  readonly #timers = new Set<ReturnType<typeof setTimeout>>()
  readonly #socket: dgram.Socket
  readonly #cut = { up: false, down: false }
  #closed = false

  private constructor(options: ProxyOptions) {
    const { target, seed, up = {}, down = {}, rules = [], maxClients = 1024 } = options
    this.#target = { port: target.port, host: target.host ?? '127.0.0.1' }
    this.#lanes = { up: lane('up', up, seed * 2), down: lane('down', down, seed * 2 + 1) }
    this.#rules = new Set(rules)
    this.#onpacket = options.onpacket
    this.#maxClients = maxClients
    this.#socket = dgram.createSocket('udp4')
  }

  static async open(options: ProxyOptions): Promise<UdpProxy> {
    const proxy = new UdpProxy(options)
    const { port = 0, host = '127.0.0.1' } = options.bind ?? {}
    proxy.#socket.on('message', (bytes, from) => proxy.#onclient(bytes, from))
    await bind(proxy.#socket, port, host)
    return proxy
  }

  get port(): number {
    return this.#socket.address().port
  }

  /** Ports the target sees, one for each client so far. */
  get upstreamPorts(): number[] {
    return [...this.#clients.values()].map((socket) => socket.address().port)
  }

  /**
   * Gives a client its upstream socket before it sends; returns the port by which the target knows
   * it.
   */
  async admit(client: { port: number; host?: string }): Promise<number> {
    const { port, host = '127.0.0.1' } = client
    const key = `${host}:${port}`
    const upstream = this.#clients.get(key) ?? this.#admit(key, { port, address: host })
    if (!upstream) throw new RangeError(`The proxy already has ${this.#maxClients} clients`)
    await this.#bound.get(upstream)
    return upstream.address().port
  }

  /** What was done to packets of one direction so far. */
  tally(direction: Direction): Readonly<Tally> {
    return this.#lanes[direction].tally
  }

  /** Changes what happens at random from now on, in one direction or both. */
  impair(impairment: Impairment, direction?: Direction): void {
    if (direction !== 'down') this.#lanes.up.impairment = impairment
    if (direction !== 'up') this.#lanes.down.impairment = impairment
  }

  addRule(rule: Rule): void {
    this.#rules.add(rule)
  }

  /** Swallows everything, in one direction or both, until restore(). */
  blackhole(direction?: Direction): void {
    if (direction !== 'down') this.#cut.up = true
    if (direction !== 'up') this.#cut.down = true
  }

  restore(): void {
    this.#cut.up = false
    this.#cut.down = false
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    for (const timer of this.#timers) clearTimeout(timer)
    for (const socket of this.#clients.values()) socket.close()
    this.#socket.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close()
  }

  #onclient(bytes: Buffer, from: dgram.RemoteInfo): void {
    const client = `${from.address}:${from.port}`
    const upstream = this.#clients.get(client) ?? this.#admit(client, from)
    if (!upstream) return
    const { port, host } = this.#target
    this.#carry(this.#lanes.up, client, bytes, (out) => this.#send(upstream, out, port, host))
  }

  #admit(client: string, from: { port: number; address: string }): dgram.Socket | undefined {
    if (this.#clients.size >= this.#maxClients) return undefined
    const upstream = dgram.createSocket('udp4')
    const { port, address } = from
    upstream.on('message', (bytes) => {
      this.#carry(this.#lanes.down, client, bytes, (out) =>
        this.#send(this.#socket, out, port, address)
      )
    })
    const host = this.#target.host === '127.0.0.1' ? '127.0.0.1' : '0.0.0.0'
    this.#bound.set(upstream, bind(upstream, 0, host))
    this.#clients.set(client, upstream)
    return upstream
  }

  #carry(way: Lane, client: string, bytes: Buffer, send: (bytes: Buffer) => void): void {
    if (this.#closed) return
    const { impairment, random, tally, direction } = way
    const index = tally.received++
    const packet = { direction, index, client, bytes, udx: decodePacket(bytes) }
    this.#onpacket?.(packet)
    const rule = this.#rule(packet)
    const ruled = rule?.action
    if (ruled === 'drop' || this.#cut[direction] || random.next() < (impairment.drop ?? 0)) {
      tally.dropped++
      return
    }
    let out = bytes
    if (ruled === 'corrupt' || random.next() < (impairment.corrupt ?? 0)) {
      out = flipBit(bytes, rule ? rule.within : impairment.corruptWithin, random)
      tally.corrupted++
    }
    const twice = ruled === 'duplicate' || random.next() < (impairment.duplicate ?? 0)
    if (twice) tally.duplicated++
    for (let copies = twice ? 2 : 1; copies > 0; copies--) this.#dispatch(way, out, send)
  }

  #dispatch(way: Lane, bytes: Buffer, send: (bytes: Buffer) => void): void {
    const { impairment, random, tally, held } = way
    const { reorder = 0, delayMs = 0, jitterMs = 0 } = impairment
    const forward = (): void => {
      tally.forwarded++
      send(bytes)
    }
    if (random.next() < reorder) {
      tally.reordered++
      this.#hold(way, forward)
      return
    }
    const wait = delayMs + random.next() * jitterMs
    if (wait > 0) this.#later(wait, forward)
    else forward()
    for (const item of held) if (--item.left === 0) item.release()
  }

  #hold(way: Lane, forward: () => void): void {
    const item: Held = {
      left: 1 + way.random.below(OVERTAKEN_BY),
      release: () => {
        if (way.held.delete(item)) forward()
      }
    }
    way.held.add(item)
    this.#later(HELD_MS, item.release)
  }

  #later(ms: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      action()
    }, ms)
    this.#timers.add(timer)
  }

  #rule(packet: Passing): Rule | undefined {
    for (const rule of this.#rules) {
      if (!rule.match(packet)) continue
      if (rule.times !== undefined && --rule.times <= 0) this.#rules.delete(rule)
      return rule
    }
    return undefined
  }

  #send(socket: dgram.Socket, bytes: Buffer, port: number, host: string): void {
    // An ICMP error of an earlier packet surfaces at the next send, which is then not made: once
    // more.
    const again = (error: Error | null): void => {
      if (error && !this.#closed) socket.send(bytes, port, host, ignore)
    }
    if (!this.#closed) socket.send(bytes, port, host, again)
  }
}

function lane(direction: Direction, impairment: Impairment, seed: number): Lane {
  const tally = {
    received: 0,
    forwarded: 0,
    dropped: 0,
    duplicated: 0,
    reordered: 0,
    corrupted: 0
  }
  return { direction, impairment, random: seededRandom(seed), held: new Set(), tally }
}

function flipBit(bytes: Buffer, within: [number, number] | undefined, random: Random): Buffer {
  const [from, to] = within ?? [0, bytes.length]
  const copy = Buffer.from(bytes)
  const length = Math.min(to, copy.length) - from
  if (length <= 0) return copy
  const at = from + random.below(length)
  copy[at] = (copy[at] ?? 0) ^ (1 << random.below(8))
  return copy
}

async function bind(socket: dgram.Socket, port: number, host: string): Promise<void> {
  const listening = once(socket, 'listening')
  socket.bind(port, host)
  await listening
  socket.on('error', ignore)
  widen(socket)
}

/** So that the proxy loses only what it was told to lose. */
function widen(socket: dgram.Socket): void {
  try {
    socket.setRecvBufferSize(SOCKET_BYTES)
  } catch {
    // Some systems refuse sizes over their limit; theirs is used then.
  }
}

function ignore(): void {}
