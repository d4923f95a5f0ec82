// A network on loopback between programs, without root: each has an address of its own (127.1.0.N),
// and sees all others under a second one (127.2.0.N) that this process listens on. Every packet so
// comes by here, where seeded dice delay it or lose it, and where a program can be cut off, in one
// direction too. Linux: all of 127.0.0.0/8 is there. Knows nothing of what the packets hold.
//
//   A 127.1.0.2:5 --to 127.2.0.3:7--> B's second address --from 127.2.0.2:5--> B 127.1.0.3:7
//
// It works because hyperdht learns addresses from packets, and takes a port for the same on both
// sides.
import type { Random } from '../../src/base/random.ts'

export interface NetQuality {
  /** One way, ms. Default 0. */
  delayMs?: number
  /** More, drawn for each packet, ms. Default 0. */
  jitterMs?: number
  /** Share of packets that are lost. Default 0. */
  loss?: number
}

type Way = 'in' | 'out' | 'both'
type UdpSocket = Bun.udp.Socket<'buffer'>

/** A client cannot be told which address to use: it takes this one. */
const CLIENT = '127.0.0.1'
const CLIENT_SEEN = '127.2.0.254'

/** Where program `n` (1 to 250) listens. */
export function realHost(n: number): string {
  return `127.1.0.${n}`
}

/** Where others reach it. */
export function seenHost(n: number): string {
  return `127.2.0.${n}`
}

export class LoopbackNet implements AsyncDisposable {
  packets = 0
  dropped = 0
  readonly #random: Random
  readonly #quality: Required<NetQuality>
  /** By real address. */
  readonly #doors = new Map<string, Promise<UdpSocket>>()
  readonly #open = new Map<string, UdpSocket>()
  /** Hosts that send nothing, and hosts that get nothing. */
  readonly #mute = new Set<string>()
  readonly #deaf = new Set<string>()
  #closed = false

  constructor(random: Random, quality: NetQuality = {}) {
    this.#random = random
    this.#quality = { delayMs: 0, jitterMs: 0, loss: 0, ...quality }
  }

  /** Cuts a program off: what it sends, what is sent to it, or both. */
  cut(host: string, way: Way): void {
    if (way !== 'in') this.#mute.add(host)
    if (way !== 'out') this.#deaf.add(host)
  }

  heal(host: string): void {
    this.#mute.delete(host)
    this.#deaf.delete(host)
  }

  /** Lets others reach a program before it has sent anything. */
  async admit(host: string, port: number): Promise<void> {
    await this.#door(host, port)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    for (const door of await Promise.all(this.#doors.values())) door.close()
  }

  /** The second address of a program's socket. */
  #door(host: string, port: number): Promise<UdpSocket> {
    const key = `${host}:${port}`
    const known = this.#doors.get(key)
    if (known) return known
    const opening = Bun.udpSocket({
      hostname: seen(host),
      port,
      socket: {
        data: (_socket, bytes, fromPort, fromHost) => {
          this.#carry({ host: fromHost, port: fromPort }, { host, port }, bytes)
        },
        error: () => {}
      }
    }).then((socket) => {
      this.#open.set(key, socket)
      return socket
    })
    this.#doors.set(key, opening)
    return opening
  }

  #carry(from: Address, to: Address, bytes: Uint8Array): void {
    const { delayMs, jitterMs, loss } = this.#quality
    this.packets++
    const lost = loss > 0 && this.#random.next() < loss
    if (lost || this.#mute.has(from.host) || this.#deaf.has(to.host)) {
      this.dropped++
      return
    }
    const ms = delayMs + (jitterMs > 0 ? this.#random.next() * jitterMs : 0)
    const door = this.#open.get(`${from.host}:${from.port}`)
    if (ms === 0 && door) {
      door.send(bytes, to.port, to.host)
      return
    }
    // The buffer is used again for the next packet.
    const copy = new Uint8Array(bytes)
    const send = async (): Promise<void> => {
      const socket = await this.#door(from.host, from.port)
      if (!this.#closed && !this.#deaf.has(to.host)) socket.send(copy, to.port, to.host)
    }
    const sending = (): void => void send().catch(() => void this.dropped++)
    if (ms === 0) sending()
    else setTimeout(sending, ms)
  }
}

interface Address {
  readonly host: string
  readonly port: number
}

function seen(host: string): string {
  return host === CLIENT ? CLIENT_SEEN : host.replace('127.1.', '127.2.')
}
