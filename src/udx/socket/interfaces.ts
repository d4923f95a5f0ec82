// The machine's network addresses, once or watched. Knows no sockets.

import { EventEmitter } from 'node:events'
import { networkInterfaces } from 'node:os'

const POLL_MS = 5000

export interface NetworkInterface {
  name: string
  host: string
  family: 4 | 6
  internal: boolean
}

/** Lists addresses and, while watching, emits 'change' when they differ. */
export class NetworkInterfaces extends EventEmitter implements Iterable<NetworkInterface> {
  interfaces: NetworkInterface[] = list()
  #timer: ReturnType<typeof setInterval> | null = null
  #destroying: Promise<void> | null = null

  watch(): this {
    if (this.#timer !== null || this.#destroying !== null) return this
    this.#timer = setInterval(() => this.#poll(), POLL_MS)
    this.#timer.unref()
    return this
  }

  unwatch(): this {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
    return this
  }

  /** Stops watching; resolves after 'close', which is emitted once. */
  async destroy(): Promise<void> {
    if (this.#destroying !== null) return this.#destroying
    this.unwatch()
    this.#destroying = new Promise((resolve) => {
      setImmediate(() => {
        this.emit('close')
        resolve()
      })
    })
    return this.#destroying
  }

  [Symbol.iterator](): Iterator<NetworkInterface> {
    return this.interfaces[Symbol.iterator]()
  }

  #poll(): void {
    const next = list()
    if (keyOf(next) === keyOf(this.interfaces)) return
    this.interfaces = next
    this.emit('change', next)
  }
}

function list(): NetworkInterface[] {
  const found: NetworkInterface[] = []
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    for (const { address, family, internal } of addresses ?? []) {
      found.push({ name, host: address, family: family === 'IPv6' ? 6 : 4, internal })
    }
  }
  return found
}

function keyOf(interfaces: readonly NetworkInterface[]): string {
  return interfaces
    .map(({ name, host, family, internal }) => `${name} ${host} ${family} ${internal}`)
    .sort()
    .join('\n')
}
