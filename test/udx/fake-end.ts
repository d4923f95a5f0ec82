// A UDX end made by hand in the test's own process: sends any bytes, sees every packet, answers
// only when told to. For what a well-behaved peer never does.
import { decodePacket, encodePacket, type Packet, STATE } from './packet.ts'

export interface FakeEnd {
  readonly port: number
  readonly packets: Packet[]
  /** Sends raw bytes to a port of the peer. */
  raw(bytes: Uint8Array, port: number): void
  send(packet: Partial<Packet>, port: number): void
  /** The first packet, from number `from` of those seen, that satisfies. Rejects after 20 s. */
  next(satisfies: (packet: Packet) => boolean, from?: number): Promise<Packet>
  close(): void
  [Symbol.dispose](): void
}

const WAIT_MS = 50_000

/** `onpacket` is called for every UDX packet, after it is recorded. */
export async function openFakeEnd(onpacket?: (packet: Packet) => void): Promise<FakeEnd> {
  const packets: Packet[] = []
  const checks = new Set<() => void>()
  const socket = await Bun.udpSocket({
    hostname: '127.0.0.1',
    socket: {
      data(_, bytes) {
        const packet = decodePacket(bytes)
        if (!packet) return
        packets.push(packet)
        onpacket?.(packet)
        for (const check of checks) check()
      },
      error() {}
    }
  })
  const raw = (bytes: Uint8Array, port: number): void => {
    socket.send(bytes, port, '127.0.0.1')
  }
  const next = (satisfies: (packet: Packet) => boolean, from = 0): Promise<Packet> => {
    const { promise, resolve, reject } = Promise.withResolvers<Packet>()
    const check = (): void => {
      const found = packets.slice(from).find(satisfies)
      if (!found) return
      checks.delete(check)
      clearTimeout(timer)
      resolve(found)
    }
    const timer = setTimeout(() => {
      checks.delete(check)
      const last = packets.at(-1)
      reject(new Error(`No such packet in ${packets.length}, the last ${JSON.stringify(last)}`))
    }, WAIT_MS)
    checks.add(check)
    check()
    return promise
  }
  const close = (): void => socket.close()
  const send = (packet: Partial<Packet>, port: number): void => raw(encodePacket(packet), port)
  return { port: socket.port, packets, raw, send, next, close, [Symbol.dispose]: close }
}

/** A receiver in order only: what it collected and the cumulative acknowledgement it would give. */
export interface Receiver {
  take(packet: Packet): boolean
  readonly bytes: Uint8Array
  readonly ack: number
}

export function inOrderReceiver(): Receiver {
  const parts: Uint8Array[] = []
  let ack = 0
  return {
    /** @returns whether the packet was the next one. */
    take(packet) {
      if (!(packet.flags & 3) || packet.seq !== ack) return false
      parts.push(packet.body.slice(packet.offset))
      ack++
      return true
    },
    get bytes() {
      return new Uint8Array(Buffer.concat(parts))
    },
    get ack() {
      return ack
    }
  }
}

export function stateFor(streamId: number, fields: Partial<Packet>): Partial<Packet> {
  return { flags: STATE, streamId, ...fields }
}
