// The bytes of UDX: the 20-byte header, SACK areas and u32 sequence arithmetic.
// Knows nothing of streams, sockets or time. Every platform Bun runs on is little-endian, as is the
// wire, so headers are written through a Uint32Array over the packet slot.

export const HEADER_BYTES = 20
export const MAGIC = 0xff
export const VERSION = 1

export const FLAG_DATA = 0x01
export const FLAG_END = 0x02
export const FLAG_SACK = 0x04
export const FLAG_MESSAGE = 0x08
export const FLAG_DESTROY = 0x10
export const FLAG_HEARTBEAT = 0x20

/** Sender limit for SACK ranges: keeps an acknowledgement at 420 bytes or less. */
export const MAX_SACK_RANGES = 50
/** libudx receives into 2048 bytes and truncates what is longer. */
export const MAX_DATAGRAM_BYTES = 2048

/** The part of an MTU that is not payload: IP, UDP and UDX headers. */
export const OVERHEAD_IPV4 = 48
export const OVERHEAD_IPV6 = 68
/** IP and UDP headers alone: the part of the MTU that the socket does not see. */
export const IP_UDP_IPV4: number = OVERHEAD_IPV4 - HEADER_BYTES
export const IP_UDP_IPV6: number = OVERHEAD_IPV6 - HEADER_BYTES

export const MTU_BASE = 1200
export const MTU_MAX = 1500
export const MTU_STEP = 32
/** data_offset is one byte, which limits the padding of a probe. */
export const MAX_PADDING = 255

/**
 * The window that is advertised when nothing is buffered, and assumed of a peer that was not heard
 * yet.
 */
export const DEFAULT_RWND: number = 4 * 1024 * 1024

/** A parsed header; one object is reused for every packet, so copy what must outlive a call. */
export interface Header {
  flags: number
  /** Bytes between the header and the payload: padding or SACK ranges. */
  dataOffset: number
  /** Local stream id of the receiver. */
  id: number
  /** Free receive buffer of the sender in bytes. */
  rwnd: number
  seq: number
  ack: number
}

/** Makes an empty header record to read into. */
export function createHeader(): Header {
  return { flags: 0, dataOffset: 0, id: 0, rwnd: 0, seq: 0, ack: 0 }
}

/** Reads a little-endian u32. The caller has checked the length. */
export function readU32(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
  )
}

/** Writes a little-endian u32 with byte stores. */
export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value
  bytes[at + 1] = value >>> 8
  bytes[at + 2] = value >>> 16
  bytes[at + 3] = value >>> 24
}

/** Whether the bytes may be a stream packet. */
export function isStreamPacket(bytes: Uint8Array): boolean {
  return bytes.length >= HEADER_BYTES && bytes[0] === MAGIC && bytes[1] === VERSION
}

/** Reads the header of a packet that `isStreamPacket` accepted. */
export function readHeader(bytes: Uint8Array, header: Header): void {
  header.flags = bytes[2]!
  header.dataOffset = bytes[3]!
  header.id = readU32(bytes, 4)
  header.rwnd = readU32(bytes, 8)
  header.seq = readU32(bytes, 12)
  header.ack = readU32(bytes, 16)
}

/** Writes a header into the words at the start of a packet slot. */
export function writeHeader(words: Uint32Array, header: Header): void {
  words[0] = MAGIC | (VERSION << 8) | (header.flags << 16) | (header.dataOffset << 24)
  words[1] = header.id
  words[2] = header.rwnd
  words[3] = header.seq
  words[4] = header.ack
}

/** Signed distance a - b in the u32 sequence space. */
export function seqDiff(a: number, b: number): number {
  return (a - b) | 0
}

/** Adds to a sequence number with wraparound. */
export function seqAdd(a: number, n: number): number {
  return (a + n) >>> 0
}

/**
 * Byte range of the SACK pairs in a packet with the SACK flag, as [start, pairs].
 * With no usable data_offset the whole rest of the packet is ranges.
 */
export function sackArea(length: number, dataOffset: number): [start: number, pairs: number] {
  const rest = length - HEADER_BYTES
  const bytes = dataOffset > 0 && dataOffset < rest ? dataOffset : rest
  return [HEADER_BYTES, bytes >>> 3]
}

/**
 * Whether one SACK range is valid: ascending, not below what is acknowledged and not above what was
 * sent.
 */
export function isSackRangeValid(start: number, end: number, una: number, nxt: number): boolean {
  return (
    seqDiff(start, end) < 0 &&
    seqDiff(start, una) >= 0 &&
    seqDiff(start, nxt) < 0 &&
    seqDiff(end, nxt) <= 0
  )
}
