// A network in memory for stream cores: one clock, one queue of events, a path that loses,
// duplicates and delays by a seeded die. Nothing here opens a socket or reads the real time.

import { Core, type CoreOptions } from '../../../src/udx/stream/core.ts'
import type { CloseReason, CoreOwner, Link, Outlet } from '../../../src/udx/stream/link.ts'
import type { Route } from '../../../src/udx/stream/rings.ts'
import { type Slot, SlotPool } from '../../../src/udx/stream/slots.ts'
import {
  FLAG_DATA,
  FLAG_END,
  HEADER_BYTES,
  type Header,
  OVERHEAD_IPV4,
  createHeader,
  readHeader,
  writeHeader
} from '../../../src/udx/wire.ts'

/** A packet seen on the wire. */
export interface Seen extends Header {
  at: number
  from: string
  bytes: Uint8Array
}

export interface PathOptions {
  /** One way, in ms. Default: 10 */
  delayMs?: number
  /** Random extra delay, in ms. Default: 0 */
  jitterMs?: number
  /** Chance that a packet is lost. Default: 0 */
  loss?: number
  /** Chance that a packet comes twice. Default: 0 */
  duplicate?: number
  /** Packets to drop by rule. */
  drop?: (packet: Seen) => boolean
}

/** A seeded die: the same seed throws the same numbers. */
export function createDie(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

interface Task {
  at: number
  order: number
  run: () => void
}

/** Clock, events and path. */
export class FakeNetwork implements Link {
  readonly pool: SlotPool = new SlotPool()
  readonly wire: Seen[] = []
  path: PathOptions
  time = 1000
  #die: () => number
  #order = 0
  #tasks: Task[] = []
  #alarms = new Map<Core, { deadline: number }>()
  #ends = new Map<string, FakeEnd>()

  constructor(path: PathOptions = {}, seed = 1) {
    this.path = path
    this.#die = createDie(seed)
  }

  now(): number {
    return this.time
  }

  wake(core: Core): void {
    if (core.awake) return
    core.awake = true
    this.later(0, () => {
      core.awake = false
      core.flush()
      for (const end of this.#ends.values()) end.outlet.flush()
    })
  }

  arm(core: Core, deadline: number): void {
    const alarm = { deadline }
    this.#alarms.set(core, alarm)
    this.later(Math.max(0, deadline - this.time), () => {
      if (this.#alarms.get(core) !== alarm) return
      this.#alarms.delete(core)
      core.ontimer()
    })
  }

  disarm(core: Core): void {
    this.#alarms.delete(core)
  }

  /** Cores with a timer set. */
  get armed(): number {
    return this.#alarms.size
  }

  later(ms: number, run: () => void): void {
    const task = { at: this.time + ms, order: this.#order++, run }
    let low = 0
    let high = this.#tasks.length
    while (low < high) {
      const middle = (low + high) >> 1
      const other = this.#tasks[middle]!
      if (other.at < task.at || (other.at === task.at && other.order < task.order)) low = middle + 1
      else high = middle
    }
    this.#tasks.splice(low, 0, task)
  }

  /** Lets time pass; stops early when `done` says so. */
  advance(ms: number, done: () => boolean = () => false): void {
    const until = this.time + ms
    while (!done()) {
      const next = this.#tasks[0]
      if (next === undefined || next.at > until) break
      this.#tasks.shift()
      this.time = Math.max(this.time, next.at)
      next.run()
    }
    if (!done()) this.time = until
  }

  createEnd(name: string, id: number, options: CoreOptions = {}): FakeEnd {
    const end = new FakeEnd(this, name, id, options)
    this.#ends.set(name, end)
    return end
  }

  /** Two ends connected to each other. */
  createPair(a: CoreOptions = {}, b: CoreOptions = {}): [FakeEnd, FakeEnd] {
    const left = this.createEnd('left', 1, a)
    const right = this.createEnd('right', 2, b)
    left.connect(right, b.seq)
    right.connect(left, a.seq)
    return [left, right]
  }

  /** One datagram on its way to the end that the route names. */
  carry(from: string, packet: Uint8Array, route: Route): void {
    const bytes = packet.slice()
    const seen: Seen = { ...createHeader(), at: this.time, from, bytes }
    readHeader(bytes, seen)
    this.wire.push(seen)
    const { loss = 0, duplicate = 0, drop } = this.path
    if (drop?.(seen) === true || this.#die() < loss) return
    this.#deliver(from, bytes, route)
    if (this.#die() < duplicate) this.#deliver(from, bytes.slice(), route)
  }

  /** Hands a packet to an end as if it had come from outside. */
  inject(to: FakeEnd, fields: Partial<Header>, payload: Uint8Array = new Uint8Array(0)): void {
    to.receive(craft({ id: to.core.id, rwnd: 4 << 20, ...fields }, payload), to.outlet)
  }

  #deliver(from: string, bytes: Uint8Array, route: Route): void {
    const { delayMs = 10, jitterMs = 0 } = this.path
    this.later(delayMs + jitterMs * this.#die(), () => {
      const end = this.#ends.get(route.host)
      const source = this.#ends.get(from)
      if (end !== undefined && source !== undefined) end.receive(bytes, end.outlet)
    })
  }
}

/** A packet of any shape. */
export function craft(fields: Partial<Header>, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + payload.length)
  writeHeader(new Uint32Array(bytes.buffer, 0, 5), { ...createHeader(), ...fields })
  bytes.set(payload, HEADER_BYTES)
  return bytes
}

/** A core with an owner that writes down what it is told. */
export class FakeEnd implements CoreOwner {
  readonly name: string
  readonly core: Core
  readonly outlet: FakeOutlet
  readonly received: Uint8Array[] = []
  readonly messages: Uint8Array[] = []
  readonly events: string[] = []
  closedBy: CloseReason | null = null
  unread = 0
  /** True: data stays unread until read() is called. */
  paused = false
  firewall: () => boolean = () => true
  #network: FakeNetwork

  constructor(network: FakeNetwork, name: string, id: number, options: CoreOptions) {
    this.#network = network
    this.name = name
    this.outlet = new FakeOutlet(network, name)
    this.core = new Core(network, this, id, options)
  }

  connect(to: FakeEnd, ack?: number): void {
    this.core.connect(this.outlet, routeTo(to), ack)
  }

  receive(bytes: Uint8Array, on: Outlet): void {
    if (this.core.closed) return
    const header = createHeader()
    readHeader(bytes, header)
    this.core.onpacket(bytes, header, on, 1, '127.0.0.1')
    this.outlet.flush()
  }

  read(): void {
    this.unread = 0
    this.core.onread()
  }

  get text(): string {
    return Buffer.concat(this.received).toString()
  }

  get receivedBytes(): number {
    return this.received.reduce((sum, one) => sum + one.length, 0)
  }

  /** What this end put on the wire. */
  get sent(): Seen[] {
    return this.#network.wire.filter(({ from }) => from === this.name)
  }

  ondata(data: Uint8Array): void {
    this.received.push(data)
    if (this.paused) this.unread += data.length
  }

  onend(): void {
    this.events.push('end')
  }

  onmessage(data: Uint8Array): void {
    this.messages.push(data)
  }

  onack(): void {}

  onremotechanged(): void {
    this.events.push('remote-changed')
  }

  unreadBytes(): number {
    return this.unread
  }

  onfirewall(): boolean {
    return this.firewall()
  }

  onclose(reason: CloseReason): void {
    this.closedBy = reason
    this.events.push('close')
  }
}

class FakeOutlet implements Outlet {
  blocked = false
  mtuLimit = 1500
  #network: FakeNetwork
  #name: string
  #batch: [Uint8Array, Route][] = []
  #slots: Slot[] = []

  constructor(network: FakeNetwork, name: string) {
    this.#network = network
    this.#name = name
  }

  queue(packet: Uint8Array, route: Route): void {
    if (this.#batch.length === 0) this.#network.later(0, () => this.flush())
    this.#batch.push([packet, route])
  }

  release(slot: Slot): void {
    this.#slots.push(slot)
  }

  flush(): void {
    const batch = this.#batch
    this.#batch = []
    for (const [packet, route] of batch) this.#network.carry(this.#name, packet, route)
    for (const slot of this.#slots.splice(0)) this.#network.pool.give(slot)
  }
}

/** The route to an end: its name stands for its address. */
export function routeTo(end: FakeEnd): Route {
  return { remoteId: end.core.id, host: end.name, port: 1, overhead: OVERHEAD_IPV4 }
}

/** Bytes that differ along their length, so that a swap shows. */
export function createPattern(length: number, salt = 0): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >>> 8) * 7 + salt) & 0xff
  return bytes
}

/** Whether a packet carries stream bytes or the end of them. */
export function isPayload({ flags }: Header): boolean {
  return (flags & (FLAG_DATA | FLAG_END)) !== 0
}
