// The worker of slow-network.ts: reads packets from the sides' devices and writes each into the
// device that it is addressed to, so many ms later. Waits in the kernel, since a timer of
// JavaScript is a millisecond late at every hop, which is more than what is measured. Knows no
// namespaces.
import { dlopen, ptr } from 'bun:ffi'
import { closeSync } from 'node:fs'

export interface WiresOptions {
  /** The devices' files; side i has an address that ends in i + 1. */
  readonly files: readonly number[]
  readonly delayMs: number
  /** Not 0 when it is over. */
  readonly stopped: Int32Array<SharedArrayBuffer>
}

interface Held {
  readonly packet: Uint8Array
  readonly file: number
  /** When it has come through, ns. */
  readonly due: number
}

const MOST_BYTES = 65_536
const POLLIN = 1
const POLLFD_BYTES = 8
/** How soon the end is noticed when no packet comes, ns. */
const IDLE_NS = 50_000_000
/** Where an IPv4 header has the last byte of its destination. */
const DESTINATION_END = 19

function carry({ files, delayMs, stopped }: WiresOptions): void {
  const { symbols: libc } = dlopen('libc.so.6', {
    ppoll: { args: ['ptr', 'u64', 'ptr', 'ptr'], returns: 'i32' },
    read: { args: ['i32', 'ptr', 'u64'], returns: 'i32' },
    write: { args: ['i32', 'ptr', 'u64'], returns: 'i32' }
  })
  const polled = Buffer.alloc(files.length * POLLFD_BYTES)
  for (const [i, file] of files.entries()) {
    polled.writeInt32LE(file, i * POLLFD_BYTES)
    polled.writeInt16LE(POLLIN, i * POLLFD_BYTES + 4)
  }
  const timeout = new BigInt64Array(2)
  const packet = new Uint8Array(MOST_BYTES)
  // Every packet waits equally long, so they come through in the order they went in.
  const held: Held[] = []
  while (Atomics.load(stopped, 0) === 0) {
    const wait = held[0] ? Math.max(0, held[0].due - Bun.nanoseconds()) : IDLE_NS
    timeout[0] = BigInt(Math.floor(wait / 1e9))
    timeout[1] = BigInt(Math.floor(wait % 1e9))
    libc.ppoll(ptr(polled), files.length, ptr(timeout), null)
    const due = Bun.nanoseconds() + delayMs * 1e6
    for (const [i, file] of files.entries()) {
      if (polled.readInt16LE(i * POLLFD_BYTES + 6) === 0) continue
      for (;;) {
        const size = libc.read(file, ptr(packet), MOST_BYTES)
        if (size <= 0) break
        const to = files[(packet[DESTINATION_END] ?? 0) - 1]
        if (to !== undefined) held.push({ packet: packet.slice(0, size), file: to, due })
      }
    }
    const now = Bun.nanoseconds()
    let through = 0
    for (const { file, packet, due } of held) {
      if (due > now) break
      libc.write(file, ptr(packet), packet.length)
      through++
    }
    held.splice(0, through)
  }
  for (const file of files) closeSync(file)
}

declare const self: Worker
self.onmessage = ({ data }: MessageEvent<WiresOptions>) => {
  carry(data)
  process.exit()
}
