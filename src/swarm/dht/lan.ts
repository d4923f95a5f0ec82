// Finds DHT nodes of a swarm on the local network without any other: asks by multicast and
// broadcast on every interface, and answers those who ask. Questions and answers are boxes under a
// key of the swarm's, so others neither understand nor forge them. Knows no DHT.
//
//   datagram   a box of 96 bytes: version u8 | kind u8: 0 ask, 1 here | nonce 16 bytes |
//              of a node: IPv4 address 4 bytes | port uint16; zeros in an ask
//
// An answer goes to where the question came from and carries its nonce: an old one is worth
// nothing.
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { networkInterfaces } from 'node:os'
import { sleep, type Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { Resource } from '../../base/resource.ts'
import type { Address } from './address.ts'
import { seal, unseal } from '../private/seal.ts'

export interface LanBeaconOptions {
  /** 32 bytes that all who should find each other have. */
  key: Uint8Array
  clock: Clock
  log: Log
  /** Where those who answer listen. Default 49736. */
  port?: number
}

/** For swarms that anybody on the network may use. */
export const OPEN_LAN_KEY: Uint8Array = new Uint8Array(32)
const PORT = 49_736
/** Of the block for use within a site. */
const GROUP = '239.255.49.73'
const VERSION = 1
const ASK = 0
const HERE = 1
const NONCE_BYTES = 16
const PLAIN_BYTES = 24
const BOX_BYTES = 96
/** A question is lost now and then, and on Wi-Fi more often. */
const ASK_AT_MS = [0, 150, 450]
/** Answers a second: a member's fault must not become the network's. */
const MAX_ANSWERS = 50
/** Interfaces asked on; a machine with more has virtual ones without end. */
const MAX_INTERFACES = 16

export class LanBeacon extends Resource {
  readonly #options: LanBeaconOptions
  readonly #port: number
  /** Hears questions; shared with other processes of this machine. */
  #ear: Socket | undefined
  /** Asks, one for each interface, and hears answers. */
  #mouths: readonly Mouth[] = []
  #nonce = Buffer.alloc(NONCE_BYTES)
  #found = new Map<string, Address>()
  #offer: Address | undefined
  #answered = { second: 0, count: 0 }

  constructor(options: LanBeaconOptions) {
    super()
    this.#options = options
    this.#port = options.port ?? PORT
  }

  /**
   * Nodes that answer within `ms`, or by the last repetition of the question if any have till then.
   */
  async ask(ms: number): Promise<readonly Address[]> {
    const { clock } = this.#options
    this.#nonce = Buffer.from(crypto.getRandomValues(new Uint8Array(NONCE_BYTES)))
    this.#found = new Map()
    const box = this.#box(ASK, this.#nonce, undefined)
    let waited = 0
    for (const at of [...ASK_AT_MS.filter((one) => one < ms), ms]) {
      await sleep(at - waited, { clock })
      waited = at
      if (this.closing) return []
      if (at === ASK_AT_MS.at(-1) && this.#found.size > 0) break
      if (at < ms) for (const mouth of this.#mouths) mouth.ask(box, this.#port)
    }
    return [...this.#found.values()]
  }

  /** From now on answers others with this node's address. */
  async offer(address: Address): Promise<void> {
    this.#offer = address
    if (this.#ear || this.closing) return
    this.#ear = await listen(this.#port, (bytes, from) => this.#onask(bytes, from))
    if (!this.#ear) {
      this.#options.log.warn(
        `others on this network cannot find this machine: UDP port ${this.#port} cannot be used`
      )
      return
    }
    for (const { address } of interfaces()) {
      // An interface without multicast still hears broadcasts.
      quietly(() => this.#ear?.addMembership(GROUP, address))
    }
  }

  protected override async _open(): Promise<void> {
    const mouths = interfaces().map((own) =>
      openMouth(own, (bytes, from) => this.#onhere(bytes, from))
    )
    this.#mouths = (await Promise.all(mouths)).flatMap((mouth) => mouth ?? [])
  }

  protected override async _close(): Promise<void> {
    for (const { socket } of this.#mouths) quietly(() => socket.close())
    quietly(() => this.#ear?.close())
  }

  #onask(bytes: Uint8Array, from: RemoteInfo): void {
    const said = this.#read(bytes, ASK)
    if (!said || !this.#offer || !this.#ear || this.closing) return
    const second = Math.floor(this.#options.clock.now() / 1000)
    if (second !== this.#answered.second) this.#answered = { second, count: 0 }
    if (++this.#answered.count > MAX_ANSWERS) return
    const box = this.#box(HERE, said.nonce, this.#offer)
    this.#ear.send(box, from.port, from.address, () => {})
  }

  #onhere(bytes: Uint8Array, from: RemoteInfo): void {
    const said = this.#read(bytes, HERE)
    if (!said || Buffer.compare(said.nonce, this.#nonce) !== 0 || said.address.port === 0) return
    const { address } = said
    // A node speaks for itself: nobody sends a swarm to a third machine.
    const own = interfaces().some((one) => one.address === from.address)
    if (address.host !== from.address && !own) return
    this.#found.set(`${address.host}:${address.port}`, address)
  }

  #box(kind: number, nonce: Uint8Array, address: Address | undefined): Uint8Array {
    const plain = Buffer.alloc(PLAIN_BYTES)
    plain.set([VERSION, kind])
    plain.set(nonce, 2)
    if (address) {
      plain.set(address.host.split('.').map(Number), 2 + NONCE_BYTES)
      plain.writeUInt16LE(address.port, PLAIN_BYTES - 2)
    }
    return seal(this.#options.key, plain, BOX_BYTES)
  }

  #read(bytes: Uint8Array, kind: number): { nonce: Uint8Array; address: Address } | undefined {
    if (bytes.byteLength !== BOX_BYTES) return undefined
    const plain = unseal(this.#options.key, bytes)
    if (plain?.byteLength !== PLAIN_BYTES || plain[0] !== VERSION || plain[1] !== kind) return
    const host = plain.subarray(2 + NONCE_BYTES, PLAIN_BYTES - 2).join('.')
    const port = Buffer.from(plain).readUInt16LE(PLAIN_BYTES - 2)
    return { nonce: plain.subarray(2, 2 + NONCE_BYTES), address: { host, port } }
  }
}

interface Interface {
  readonly address: string
  readonly broadcast: string
}

interface Mouth {
  readonly socket: Socket
  ask(box: Uint8Array, port: number): void
}

function interfaces(): readonly Interface[] {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  return all
    .filter(({ family }) => family === 'IPv4')
    .slice(0, MAX_INTERFACES)
    .map(({ address, netmask }) => ({ address, broadcast: broadcastOf(address, netmask) }))
}

function broadcastOf(address: string, netmask: string): string {
  const mask = netmask.split('.').map(Number)
  return address
    .split('.')
    .map((part, i) => Number(part) | (~(mask[i] ?? 255) & 255))
    .join('.')
}

async function openMouth(
  own: Interface,
  onmessage: (bytes: Uint8Array, from: RemoteInfo) => void
): Promise<Mouth | undefined> {
  const socket = await open(0, own.address, onmessage)
  if (!socket) return undefined
  quietly(() => socket.setMulticastInterface(own.address))
  quietly(() => socket.setMulticastLoopback(true))
  quietly(() => socket.setBroadcast(true))
  return {
    socket,
    ask(box, port) {
      for (const to of [GROUP, own.broadcast]) quietly(() => socket.send(box, port, to, () => {}))
    }
  }
}

function listen(
  port: number,
  onmessage: (bytes: Uint8Array, from: RemoteInfo) => void
): Promise<Socket | undefined> {
  return open(port, '0.0.0.0', onmessage)
}

/** Undefined when the address cannot be had. */
function open(
  port: number,
  host: string,
  onmessage: (bytes: Uint8Array, from: RemoteInfo) => void
): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket({ type: 'udp4', reuseAddr: port !== 0 })
    socket.on('error', () => {
      quietly(() => socket.close())
      resolve(undefined)
    })
    socket.on('message', onmessage)
    socket.bind(port, host, () => {
      socket.unref()
      resolve(socket)
    })
  })
}

/** What an interface cannot do, or has ceased to do, is no reason to fail. */
function quietly(run: () => void): void {
  try {
    run()
  } catch {
    // It stays silent; other interfaces may do.
  }
}
