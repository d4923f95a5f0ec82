// udx-native for Bun: reliable, multiplexed, congestion-controlled streams over UDP, compatible
// with libudx on the wire and with udx-native in its API. Its layers, each of which knows only
// those before it: wire, rings, recovery/congestion/scoreboard, sender/receiver, core, turn/port,
// socket/stream, this file.

import { lookup as resolve } from 'node:dns/promises'
import { codedError, invalidArgument } from './errors.ts'
import { type NetworkInterface, NetworkInterfaces } from './socket/interfaces.ts'
import { familyOf } from './socket/ip.ts'
import type { Outlet } from './stream/link.ts'
import { Registry } from './socket/registry.ts'
import { UDXSocket, type UDXSocketOptions } from './socket/socket.ts'
import { UDXStream, type UDXStreamOptions } from './stream/stream.ts'
import { Turn } from './socket/turn.ts'

export type { NetworkInterface } from './socket/interfaces.ts'
export { NetworkInterfaces } from './socket/interfaces.ts'
export type { RemoteInfo, UDXSocketEvents, UDXSocketOptions } from './socket/socket.ts'
export { UDXSocket } from './socket/socket.ts'
export type { ConnectOptions, UDXStreamEvents, UDXStreamOptions } from './stream/stream.ts'
export { UDXStream } from './stream/stream.ts'

/** An instance: its sockets share one table of stream ids. */
export class UDX {
  /** For sockets and streams of this instance. */
  readonly turn: Turn = new Turn()
  readonly registry: Registry = new Registry()

  #watchers = new Set<NetworkInterfaces>()
  #sockets = new WeakMap<Outlet, UDXSocket>()

  static isIPv4(host: string): boolean {
    return familyOf(host) === 4
  }

  static isIPv6(host: string): boolean {
    return familyOf(host) === 6
  }

  static isIP(host: string): 0 | 4 | 6 {
    return familyOf(host)
  }

  /** Stream traffic of all sockets. */
  get bytesTransmitted(): number {
    return this.turn.traffic.bytesTransmitted
  }

  get packetsTransmitted(): number {
    return this.turn.traffic.packetsTransmitted
  }

  get bytesReceived(): number {
    return this.turn.traffic.bytesReceived
  }

  get packetsReceived(): number {
    return this.turn.traffic.packetsReceived
  }

  /** Bun does not tell it. */
  get packetsDroppedByKernel(): number {
    return -1
  }

  createSocket(options: UDXSocketOptions = {}): UDXSocket {
    return new UDXSocket(this, options)
  }

  createStream(id: number, options: UDXStreamOptions = {}): UDXStream {
    return new UDXStream(this, id, options)
  }

  networkInterfaces(): NetworkInterface[] {
    const [watcher] = this.#watchers
    return watcher === undefined ? new NetworkInterfaces().interfaces : watcher.interfaces
  }

  /** Watches from the start; destroy it to stop. */
  watchNetworkInterfaces(onchange?: (interfaces: NetworkInterface[]) => void): NetworkInterfaces {
    const watcher = new NetworkInterfaces()
    this.#watchers.add(watcher)
    watcher.on('close', () => this.#watchers.delete(watcher))
    if (onchange) watcher.on('change', onchange)
    return watcher.watch()
  }

  /** First address of a name. @throws with getaddrinfo's code, such as EAI_NONAME. */
  async lookup(
    host: string,
    options: { family?: 0 | 4 | 6 } = {}
  ): Promise<{ host: string; family: 4 | 6 }> {
    const wanted = options.family ?? 0
    if (!host) throw invalidArgument()
    const given = familyOf(host)
    // Bun answers an address with itself whatever family is asked for.
    if (given !== 0 && (wanted === 4 || wanted === 6) && given !== wanted) {
      throw codedError('EAI_ADDRFAMILY', 'address family not supported')
    }
    try {
      const { address, family } = await resolve(host, { family: wanted })
      return { host: address, family: family === 6 ? 6 : 4 }
    } catch (error) {
      // RFC 6761: the name means loopback even where the hosts file lacks one of its families.
      if (host !== 'localhost')
        throw isNotFound(error) ? codedError('EAI_NONAME', 'unknown node or service') : error
      return wanted === 6 ? { host: '::1', family: 6 } : { host: '127.0.0.1', family: 4 }
    }
  }

  /** Which socket of this instance a bound port belongs to. */
  socketOf(outlet: Outlet): UDXSocket | undefined {
    return this.#sockets.get(outlet)
  }

  /** A socket of this instance was bound. */
  addPort(outlet: Outlet, socket: UDXSocket): void {
    this.#sockets.set(outlet, socket)
  }
}

function isNotFound(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOTFOUND'
}
