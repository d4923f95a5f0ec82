// What a server publishes under its key in the DHT: its spans, as long as they may be believed.
// Encoding, and what a reader requires of a record. Pure; knows no network.
//
//   record   version uint | flags | servers list(64, info), each with its length before it
//
// hyperdht signs it with the server's key and a number that grows (wall clock, ms). An empty list
// says that the server left. Optional fields and trailing bytes are skipped, as on the wire.
import { AppError, corrupt, overLimit } from '../base/errors.ts'
import { serversCodec } from '../wire/codec/info.ts'
import { decodeMessage, encodeMessage } from '../wire/codec/encode.ts'
import { record, versioned } from '../wire/codec/record.ts'
import type { ServerInfo } from '../wire/types.ts'

export const RECORD_VERSION = 1
/** What hyperdht nodes keep of one record is bounded by a datagram. */
export const MAX_RECORD_BYTES = 1000
/** How long a record is believed. */
export const LIFE_MS = 60_000
/** No record is believed longer, whatever it says: it would be a ghost for that long. */
const MAX_LIFE_MS = 300_000
/** Ordinary machines' clocks differ; a minute more of a ghost costs less than a server unseen. */
const SLOW_CLOCK_MS = 60_000
const FAST_CLOCK_MS = 600_000

const recordCodec = versioned(
  RECORD_VERSION,
  record<{ readonly servers: readonly ServerInfo[] }>({ servers: serversCodec }),
  (version) => corrupt(`The record has version ${version}`)
)

/**
 * Encodes infos, leaving round trips out from the last on until they fit.
 * @throws AppError LIMIT
 */
export function encodeRecord(
  servers: readonly ServerInfo[],
  maxBytes: number = MAX_RECORD_BYTES
): Uint8Array {
  const fewest = Math.max(0, ...servers.map(({ pings }) => pings.length))
  for (let pings = fewest; pings >= 0; pings--) {
    const bytes = encodeMessage(recordCodec, {
      servers: servers.map((info) => ({ ...info, pings: info.pings.slice(0, pings) }))
    })
    if (bytes.byteLength <= maxBytes) return bytes
  }
  throw overLimit(`The server's record does not fit: ${servers.length} spans are too many for one`)
}

/** Any bytes as infos. @throws AppError */
export function decodeRecord(bytes: Uint8Array): readonly ServerInfo[] {
  if (bytes.byteLength > MAX_RECORD_BYTES) {
    throw overLimit(`The record is refused: ${bytes.byteLength} bytes, over ${MAX_RECORD_BYTES}`)
  }
  return decodeMessage(recordCodec, bytes).servers
}

export interface Wanted {
  /** Whose record it is, by its signature. */
  readonly peer: Uint8Array
  /** Undefined: any. */
  readonly model?: Uint8Array | undefined
  /** Of that model. Undefined: as the info says. */
  readonly blockCount?: number | undefined
  /** The reader's wall clock, ms. */
  readonly now: number
}

export type Verdict =
  | { readonly kind: 'usable'; readonly info: ServerInfo }
  | { readonly kind: 'other' | 'foreign' | 'expired' | 'absurd' }

/** Whether one info of a record can be used; its expiry is then in the reader's time. */
export function judgeInfo(info: ServerInfo, wanted: Wanted): Verdict {
  if (Buffer.compare(info.peer, wanted.peer) !== 0) return { kind: 'foreign' }
  const { model, blockCount = info.blockCount } = wanted
  if (model && Buffer.compare(info.model, model) !== 0) return { kind: 'other' }
  if (info.blockCount !== blockCount || info.end > blockCount) {
    return { kind: 'absurd' }
  }
  if (info.issuedAt > wanted.now + FAST_CLOCK_MS || info.expiresAt < info.issuedAt) {
    return { kind: 'absurd' }
  }
  const expiresAt = Math.min(info.expiresAt, info.issuedAt + MAX_LIFE_MS) + SLOW_CLOCK_MS
  if (expiresAt <= wanted.now) return { kind: 'expired' }
  return { kind: 'usable', info: { ...info, expiresAt } }
}

/** The infos of a signed record that can be used; damaged bytes have none. */
export function usableInfos(
  bytes: Uint8Array,
  wanted: Wanted,
  onrefused: (why: string) => void = () => {}
): readonly ServerInfo[] {
  let servers: readonly ServerInfo[]
  try {
    servers = decodeRecord(bytes)
  } catch (error) {
    if (!(error instanceof AppError)) throw error
    onrefused(error.message)
    return []
  }
  return servers.flatMap((info) => {
    const verdict = judgeInfo(info, wanted)
    if (verdict.kind === 'usable') return verdict.info
    onrefused(verdict.kind)
    return []
  })
}
