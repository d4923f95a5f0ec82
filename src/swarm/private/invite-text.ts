// An invite as one line of text for people to pass on: 'petals1', then z-base-32 of the invite's
// bytes and of 4 bytes of their hash. Every other spelling is refused. Knows nothing of what is in
// an invite.
import { badInput, corrupt } from '../../base/errors.ts'
import { labelledHash } from './seal.ts'

const PREFIX = 'petals1'
const CHECKSUM_BYTES = 4
/** The longest chain makes about 5,000 characters. */
const MAX_TEXT_LENGTH = 8192

/** Bytes of an invite as one line. */
export function toText(bytes: Uint8Array): string {
  return PREFIX + toBase32(Buffer.concat([bytes, checksum(bytes)]))
}

/**
 * The bytes of an invite from its line.
 * @throws AppError BAD_INPUT for other text, CORRUPT for a typing mistake
 */
export function fromText(text: string): Uint8Array {
  if (!looksLikeInvite(text) || text.length > MAX_TEXT_LENGTH) {
    throw badInput('The invite cannot be read: it is not one', {
      hint: `An invite is one line that begins with ${PREFIX}; petals swarm invite makes one`
    })
  }
  const bytes = fromBase32(text.slice(PREFIX.length))
  const end = (bytes?.byteLength ?? 0) - CHECKSUM_BYTES
  if (!bytes || end < 0 || Buffer.compare(checksum(bytes.subarray(0, end)), bytes.subarray(end))) {
    throw corrupt('The invite cannot be read: it was cut or mistyped', {
      hint: 'Copy the whole line again'
    })
  }
  return bytes.subarray(0, end)
}

export function looksLikeInvite(text: string): boolean {
  return text.startsWith(PREFIX)
}

function checksum(bytes: Uint8Array): Uint8Array {
  return labelledHash('petals invite text', [bytes]).subarray(0, CHECKSUM_BYTES)
}

const ALPHABET = 'ybndrfg8ejkmcpqxot1uwisza345h769'
const VALUES: ReadonlyMap<string, number> = new Map(
  [...ALPHABET].map((character, value) => [character, value])
)

function toBase32(bytes: Uint8Array): string {
  let text = ''
  let bits = 0
  let held = 0
  for (const byte of bytes) {
    held = (held << 8) | byte
    bits += 8
    for (; bits >= 5; bits -= 5) text += ALPHABET[(held >>> (bits - 5)) & 31]
    held &= (1 << bits) - 1
  }
  return bits > 0 ? text + ALPHABET[(held << (5 - bits)) & 31] : text
}

/**
 * Undefined for characters of another alphabet, and for text that toBase32() would write otherwise.
 */
function fromBase32(text: string): Uint8Array | undefined {
  const bytes = Buffer.alloc(Math.floor((text.length * 5) / 8))
  let length = 0
  let bits = 0
  let held = 0
  for (const character of text) {
    const value = VALUES.get(character)
    if (value === undefined) return undefined
    held = (held << 5) | value
    bits += 5
    if (bits < 8) continue
    bits -= 8
    bytes[length++] = held >>> bits
    held &= (1 << bits) - 1
  }
  return bits >= 5 || held !== 0 ? undefined : bytes
}
