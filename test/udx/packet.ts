// A UDX packet as a record and as bytes, written a second time on purpose: tests that look at the
// wire must not share a mistake with src/udx/wire. Knows no stream.

export const STATE = 0
export const DATA = 1
export const END = 2
export const SACK = 4
export const MESSAGE = 8
export const DESTROY = 16
export const HEARTBEAT = 32
export const HEADER_BYTES = 20

export interface Packet {
  flags: number
  /** Bytes of padding or SACK ranges between header and payload. */
  offset: number
  streamId: number
  window: number
  seq: number
  ack: number
  /** Everything after the header, the first `offset` bytes included. */
  body: Uint8Array
}

/** @returns undefined when the datagram is no UDX stream packet. */
export function decodePacket(bytes: Uint8Array): Packet | undefined {
  if (bytes.length < HEADER_BYTES || bytes[0] !== 0xff || bytes[1] !== 1) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return {
    flags: view.getUint8(2),
    offset: view.getUint8(3),
    streamId: view.getUint32(4, true),
    window: view.getUint32(8, true),
    seq: view.getUint32(12, true),
    ack: view.getUint32(16, true),
    body: bytes.subarray(HEADER_BYTES)
  }
}

export function encodePacket(packet: Partial<Packet>): Uint8Array {
  const { flags = STATE, offset = 0, streamId = 0, window = 4194304, seq = 0, ack = 0 } = packet
  const body = packet.body ?? new Uint8Array(0)
  const bytes = new Uint8Array(HEADER_BYTES + body.length)
  const view = new DataView(bytes.buffer)
  bytes.set([0xff, 1, flags, offset])
  view.setUint32(4, streamId, true)
  view.setUint32(8, window, true)
  view.setUint32(12, seq, true)
  view.setUint32(16, ack, true)
  bytes.set(body, HEADER_BYTES)
  return bytes
}

/** The body of a SACK packet: half-open ranges of packet numbers. */
export function sackBody(ranges: [start: number, end: number][]): Uint8Array {
  const bytes = new Uint8Array(ranges.length * 8)
  const view = new DataView(bytes.buffer)
  for (const [i, [start, end]] of ranges.entries()) {
    view.setUint32(i * 8, start, true)
    view.setUint32(i * 8 + 4, end, true)
  }
  return bytes
}
