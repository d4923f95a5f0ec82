// Socket options for which Bun.udpSocket has no setter, through the system's own setsockopt: buffer
// sizes, don't-fragment, and no queueing of ICMP errors. Every call may fail and then says so;
// without FFI the transport works, only slower on bulk and without an MTU search.

import { dlopen, ptr } from 'bun:ffi'

interface Libc {
  set(fd: number, level: number, name: number, value: number): boolean
  get(fd: number, level: number, name: number): number
}

interface Constants {
  libraries: readonly string[]
  socketLevel: number
  receiveBuffer: number
  sendBuffer: number
  /** Ignores the system's limit; needs a privilege. */
  receiveBufferForce: number | null
  /**
   * [level, name, value, other value] of datagrams that leave with DF set and without a cached path
   * MTU, and of those that are cut where they are too large for a network.
   */
  dontFragment4: readonly [number, number, number, number]
  dontFragment6: readonly [number, number, number, number]
  /** [level, name] of the TTL of IPv4 datagrams. */
  ttl4: readonly [number, number]
  /** [level, name] whose 0 stops ICMP errors from failing later sends. */
  receiveErrors: readonly (readonly [number, number])[]
}

const LINUX: Constants = {
  libraries: ['libc.so.6', 'libc.so', `libc.musl-${muslArch()}.so.1`],
  socketLevel: 1,
  receiveBuffer: 8,
  sendBuffer: 7,
  receiveBufferForce: 33,
  dontFragment4: [0, 10, 3, 0],
  dontFragment6: [41, 23, 3, 0],
  ttl4: [0, 2],
  receiveErrors: [
    [0, 11],
    [41, 25]
  ]
}

const MACOS: Constants = {
  libraries: ['libSystem.B.dylib'],
  socketLevel: 0xffff,
  receiveBuffer: 0x1002,
  sendBuffer: 0x1001,
  receiveBufferForce: null,
  dontFragment4: [0, 28, 1, 0],
  dontFragment6: [41, 62, 1, 0],
  ttl4: [0, 4],
  receiveErrors: []
}

const WINDOWS: Constants = {
  libraries: ['ws2_32.dll'],
  socketLevel: 0xffff,
  receiveBuffer: 0x1002,
  sendBuffer: 0x1001,
  receiveBufferForce: null,
  dontFragment4: [0, 14, 1, 0],
  dontFragment6: [41, 14, 1, 0],
  ttl4: [0, 4],
  receiveErrors: []
}

const constants =
  process.platform === 'linux' ? LINUX : process.platform === 'win32' ? WINDOWS : MACOS

let loaded: Libc | null | undefined

/** Sets the receive buffer, past the system's limit where that is allowed. */
export function setReceiveBuffer(fd: number, bytes: number): boolean {
  const { socketLevel, receiveBuffer, receiveBufferForce } = constants
  const forced =
    receiveBufferForce !== null && setOption(fd, socketLevel, receiveBufferForce, bytes)
  return forced || setOption(fd, socketLevel, receiveBuffer, bytes)
}

export function setSendBuffer(fd: number, bytes: number): boolean {
  return setOption(fd, constants.socketLevel, constants.sendBuffer, bytes)
}

/** Size in bytes as the system states it, or -1. */
export function getReceiveBuffer(fd: number): number {
  return libc()?.get(fd, constants.socketLevel, constants.receiveBuffer) ?? -1
}

/** Size in bytes as the system states it, or -1. */
export function getSendBuffer(fd: number): number {
  return libc()?.get(fd, constants.socketLevel, constants.sendBuffer) ?? -1
}

/**
 * Sets or clears DF. A dual-stack socket needs it for both families; true when the main one took
 * it.
 */
export function setDontFragment(fd: number, family: 4 | 6, on: boolean): boolean {
  const [level4, name4, whole4, cut4] = constants.dontFragment4
  const four = setOption(fd, level4, name4, on ? whole4 : cut4)
  if (family === 4) return four
  const [level6, name6, whole6, cut6] = constants.dontFragment6
  return setOption(fd, level6, name6, on ? whole6 : cut6)
}

/** TTL of IPv4 datagrams from a dual-stack socket, whose own setter minds IPv6 only. */
export function setMappedTTL(fd: number, ttl: number): boolean {
  const [level, name] = constants.ttl4
  return setOption(fd, level, name, ttl)
}

/** Keeps an ICMP error of one dead peer from failing the next send to another. */
export function ignoreIcmpErrors(fd: number): void {
  for (const [level, name] of constants.receiveErrors) setOption(fd, level, name, 0)
}

function setOption(fd: number, level: number, name: number, value: number): boolean {
  return libc()?.set(fd, level, name, value) ?? false
}

function libc(): Libc | null {
  if (loaded === undefined) loaded = load()
  return loaded
}

function load(): Libc | null {
  for (const library of constants.libraries) {
    try {
      return open(library)
    } catch {
      // The next name may be the right one for this system.
    }
  }
  return null
}

function open(library: string): Libc {
  // A Windows socket is a handle of pointer size; its value still fits 32 bits.
  const socketType = process.platform === 'win32' ? 'u64' : 'i32'
  const { symbols } = dlopen(library, {
    setsockopt: { args: [socketType, 'i32', 'i32', 'ptr', 'u32'], returns: 'i32' },
    getsockopt: { args: [socketType, 'i32', 'i32', 'ptr', 'ptr'], returns: 'i32' }
  })
  const value = new Int32Array(1)
  const length = new Uint32Array(1)
  return {
    set(fd, level, name, number) {
      if (!(fd >= 0)) return false
      value[0] = number
      return symbols.setsockopt(fd, level, name, ptr(value), 4) === 0
    },
    get(fd, level, name) {
      if (!(fd >= 0)) return -1
      length[0] = 4
      return symbols.getsockopt(fd, level, name, ptr(value), ptr(length)) === 0 ? value[0]! : -1
    }
  }
}

function muslArch(): string {
  return process.arch === 'arm64' ? 'aarch64' : 'x86_64'
}
