// What the secret of a private swarm is used for: one key for each purpose, boxes that only members
// can open, and signatures over labelled text. Pure; knows no invites and no network.
import {
  crypto_generichash,
  crypto_secretbox_easy,
  crypto_secretbox_open_easy,
  crypto_sign_detached,
  crypto_sign_verify_detached
} from 'sodium-universal'
import { overLimit } from '../../base/errors.ts'

const NONCE_BYTES = 24
const TAG_BYTES = 16
const LENGTH_BYTES = 2
/** Bytes that a box adds to its content. */
export const SEAL_BYTES: number = NONCE_BYTES + TAG_BYTES + LENGTH_BYTES
export const SIGNATURE_BYTES = 64

/**
 * BLAKE2b-256 of a label and parts of fixed size, or of one part of any size; keyed when `key` is
 * given.
 */
export function labelledHash(
  label: string,
  parts: readonly Uint8Array[],
  key?: Uint8Array
): Uint8Array {
  const hash = Buffer.alloc(32)
  const text = labelled(label, parts)
  if (key) crypto_generichash(hash, text, Buffer.from(key))
  else crypto_generichash(hash, text)
  return hash
}

/** The key for one purpose; `parts` bind it further, e.g. to one connection. */
export function deriveKey(
  secret: Uint8Array,
  purpose: string,
  parts: readonly Uint8Array[] = []
): Uint8Array {
  return labelledHash(`petals swarm key: ${purpose}`, parts, secret)
}

/** A signature that is not valid under any other label. */
export function signLabelled(
  label: string,
  parts: readonly Uint8Array[],
  secretKey: Uint8Array
): Uint8Array {
  const signature = Buffer.alloc(SIGNATURE_BYTES)
  crypto_sign_detached(signature, labelled(label, parts), Buffer.from(secretKey))
  return signature
}

export function verifyLabelled(
  label: string,
  parts: readonly Uint8Array[],
  signature: Uint8Array,
  publicKey: Uint8Array
): boolean {
  if (signature.byteLength !== SIGNATURE_BYTES || publicKey.byteLength !== 32) return false
  const text = labelled(label, parts)
  return crypto_sign_verify_detached(Buffer.from(signature), text, Buffer.from(publicKey))
}

/**
 * Puts `plain` into a box, padded so that the box has exactly `size` bytes.
 * @throws AppError LIMIT
 */
export function seal(key: Uint8Array, plain: Uint8Array, size: number): Uint8Array {
  const room = size - SEAL_BYTES
  if (plain.byteLength > room || room > 0xffff) {
    throw overLimit(`The box cannot be made: ${plain.byteLength} bytes, over ${room}`)
  }
  const padded = Buffer.alloc(LENGTH_BYTES + room)
  padded.writeUInt16LE(plain.byteLength, 0)
  padded.set(plain, LENGTH_BYTES)
  const box = Buffer.alloc(size)
  const nonce = crypto.getRandomValues(box.subarray(0, NONCE_BYTES))
  crypto_secretbox_easy(box.subarray(NONCE_BYTES), padded, nonce, Buffer.from(key))
  return box
}

/** The content of a box; undefined when it was sealed with another key or is damaged. */
export function unseal(key: Uint8Array, box: Uint8Array): Uint8Array | undefined {
  if (box.byteLength < SEAL_BYTES) return undefined
  const padded = Buffer.alloc(box.byteLength - NONCE_BYTES - TAG_BYTES)
  const bytes = Buffer.from(box)
  const nonce = bytes.subarray(0, NONCE_BYTES)
  const opened = crypto_secretbox_open_easy(
    padded,
    bytes.subarray(NONCE_BYTES),
    nonce,
    Buffer.from(key)
  )
  if (!opened) return undefined
  const length = padded.readUInt16LE(0)
  if (length > padded.byteLength - LENGTH_BYTES) return undefined
  return padded.subarray(LENGTH_BYTES, LENGTH_BYTES + length)
}

function labelled(label: string, parts: readonly Uint8Array[]): Buffer {
  return Buffer.concat([Buffer.from(`${label}\0`), ...parts])
}
