// The list of invites that a swarm's creator has revoked. It is signed by the root key, and the
// list with the highest number counts, whoever brings it. Pure; revocation-feed.ts and node.ts
// carry it.
//
//   list   version uint | seq uint | ids list(1024, 16 bytes) | signature of all before it
import { toHex } from '../../base/bytes.ts'
import { corrupt, overLimit, unsupported } from '../../base/errors.ts'
import { decodeMessage, encodeMessage } from '../../wire/codec/encode.ts'
import { anyNumber, fixedBytes, listUpTo, sessionId } from '../../wire/codec/fields.ts'
import { LIMITS } from '../../wire/protocol.ts'
import { bare, versioned } from '../../wire/codec/record.ts'
import { createIdentity } from '../identity.ts'
import { keysOf, swarmIdOf, type SwarmKeys, type SwarmRoot } from './invite.ts'
import { SIGNATURE_BYTES, signLabelled, verifyLabelled } from './seal.ts'

export interface RevocationList {
  readonly seq: number
  /** Ids of blocks, hex. */
  readonly ids: ReadonlySet<string>
  /** The bytes as they were signed, to be passed on. */
  readonly bytes: Uint8Array
}

export const MAX_REVOKED = 1024
const LIST_VERSION = 1
const SIGNATURE_LABEL = 'petals revocations 1'

// An id is as long as a session's.
const ids = listUpTo(MAX_REVOKED, sessionId, 'revoked invites')
const signature = fixedBytes(SIGNATURE_BYTES)

interface Unsigned {
  readonly seq: number
  readonly ids: readonly Uint8Array[]
}

const unsignedCodec = versioned(LIST_VERSION, bare<Unsigned>({ seq: anyNumber, ids }), (version) =>
  unsupported(`The list of revoked invites is refused: it has version ${version}`)
)

/** A new list; `number` must be higher than that of every list before. @throws AppError LIMIT */
export function signRevocations(
  root: SwarmRoot,
  number: number,
  revoked: Iterable<string>
): RevocationList {
  const set = new Set(revoked)
  if (set.size > MAX_REVOKED) {
    throw overLimit(`No more than ${MAX_REVOKED} invites can be revoked`, {
      hint: 'Make a new swarm, and invite again who may stay'
    })
  }
  const body = encodeMessage(unsignedCodec, {
    seq: number,
    ids: [...set].map((id) => Buffer.from(id, 'hex'))
  })
  const parts = [swarmIdOf(keysOf(root)), body]
  const signed = signLabelled(SIGNATURE_LABEL, parts, createIdentity(root.seed).secretKey)
  return { seq: number, ids: set, bytes: Buffer.concat([body, signed]) }
}

/** @throws AppError CORRUPT for a list that the creator did not sign, UNSUPPORTED */
export function readRevocations(keys: SwarmKeys, bytes: Uint8Array): RevocationList {
  const end = bytes.byteLength - SIGNATURE_BYTES
  if (end < 0 || bytes.byteLength > LIMITS.revocationBytes) throw refused()
  const body = bytes.subarray(0, end)
  const signed = decodeMessage(signature, bytes.subarray(end))
  if (!verifyLabelled(SIGNATURE_LABEL, [swarmIdOf(keys), body], signed, keys.root)) throw refused()
  const list = decodeMessage(unsignedCodec, body)
  return { seq: list.seq, ids: new Set(list.ids.map(toHex)), bytes: new Uint8Array(bytes) }
}

function refused(): Error {
  return corrupt("The list of revoked invites is refused: it is not the creator's")
}
