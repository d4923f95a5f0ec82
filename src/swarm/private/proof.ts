// The proof of membership in a hello: the chain of an invite and a signature over this very
// connection by the chain's last key, in a box that only members can open. Pure; membership.ts
// decides who is let in.
//
//   proof    a box of 1 to 4 KiB that holds
//   inside   version uint | seq of the list of revoked invites uint | <chain> | signature
//
// The box's key is bound to the swarm, the connection and the direction; the signature to the
// swarm, the connection and the signer's key of the connection. So neither can be replayed on
// another connection nor sent back on the same one, and a stranger cannot even see who is a member.
import { AppError, denied } from '../../base/errors.ts'
import { decodeMessage, encodeMessage } from '../../wire/codec/encode.ts'
import { anyNumber, fixedBytes } from '../../wire/codec/fields.ts'
import { LIMITS } from '../../wire/protocol.ts'
import { bare, versioned } from '../../wire/codec/record.ts'
import type { Capability } from './capability.ts'
import { createIdentity } from '../identity.ts'
import { chainCodec, type SignedBlock } from './invite-codec.ts'
import { checkChain, swarmIdOf, type Invite, type SwarmKeys } from './invite.ts'
import {
  deriveKey,
  SEAL_BYTES,
  seal,
  SIGNATURE_BYTES,
  signLabelled,
  unseal,
  verifyLabelled
} from './seal.ts'

/** One connection, as seen from the end that proves its membership. */
export interface ProofContext {
  /** Hash of the connection's handshake, the same at both ends. */
  readonly handshakeHash: Uint8Array
  /** Public key of the prover's end of the connection. */
  readonly prover: Uint8Array
  /** Whether the prover opened the connection. */
  readonly initiator: boolean
}

export interface Proved {
  readonly capability: Capability
  /** Number of the newest list of revoked invites that the prover has; 0: none. */
  readonly revocationSeq: number
}

const PROOF_VERSION = 1
const SIGNATURE_LABEL = 'petals membership 1'
/** Boxes come in few sizes, so that the size tells little about the chain inside. */
const STEP_BYTES = 1024

interface Inside {
  readonly seq: number
  readonly blocks: readonly SignedBlock[]
  readonly signature: Uint8Array
}

const insideCodec = versioned(
  PROOF_VERSION,
  bare<Inside>({ seq: anyNumber, blocks: chainCodec, signature: fixedBytes(SIGNATURE_BYTES) }),
  (version) => denied(`its proof has version ${version}`)
)

export function makeProof(
  invite: Invite,
  context: ProofContext,
  revocationSeq: number
): Uint8Array {
  const { secretKey } = createIdentity(invite.seed)
  const signed = signLabelled(SIGNATURE_LABEL, signedParts(invite, context), secretKey)
  const inside = encodeMessage(insideCodec, {
    seq: revocationSeq,
    blocks: invite.blocks,
    signature: signed
  })
  const steps = Math.ceil((inside.byteLength + SEAL_BYTES) / STEP_BYTES)
  return seal(boxKey(invite, context), inside, Math.min(steps * STEP_BYTES, LIMITS.proofBytes))
}

/** @throws AppError DENIED for anything that does not prove an invite of this swarm */
export function checkProof(
  keys: SwarmKeys,
  context: ProofContext,
  proof: Uint8Array | undefined
): Proved {
  const inside = proof && unseal(boxKey(keys, context), proof)
  if (!inside) throw denied('it is no member of this swarm')
  try {
    const { seq: revocationSeq, blocks, signature } = decodeMessage(insideCodec, inside)
    const capability = checkChain(keys, blocks)
    const parts = signedParts(keys, context)
    if (!verifyLabelled(SIGNATURE_LABEL, parts, signature, capability.key)) {
      throw denied('it does not hold the invite that it shows')
    }
    return { capability, revocationSeq }
  } catch (cause) {
    if (cause instanceof AppError && cause.code === 'DENIED') throw cause
    const why = cause instanceof Error ? cause.message : String(cause)
    throw denied(`its proof cannot be read: ${why}`, { cause })
  }
}

function signedParts(keys: SwarmKeys, context: ProofContext): readonly Uint8Array[] {
  return [swarmIdOf(keys), context.handshakeHash, context.prover]
}

function boxKey(keys: SwarmKeys, context: ProofContext): Uint8Array {
  const direction = Uint8Array.of(context.initiator ? 1 : 0)
  return deriveKey(keys.secret, 'proof', [direction, context.handshakeHash])
}
