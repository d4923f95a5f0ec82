// Invites: chains of signed blocks, each signed by the key that the block before names, and each
// only restricting. They are made without anybody else and checked without a network. capability.ts
// decides what a chain permits, invite-codec.ts has its bytes. Pure but for fresh keys.
//
// root key --signs--> block 1 (names key 1) --signs--> block 2 (names key 2) ... the holder of the
// last key proves that by signing a connection's handshake. A block's id is a hash over the swarm
// and all blocks up to it, so what is revoked takes everything narrowed from it along.
import { toHex } from '../../base/bytes.ts'
import { AppError, badInput, corrupt, overLimit } from '../../base/errors.ts'
import { capabilityOf, type Capability, type CheckedBlock } from './capability.ts'
import { createIdentity } from '../identity.ts'
import {
  decodeBody,
  decodeInvite,
  encodeBody,
  encodeInvite,
  INVITE_LIMITS,
  type Caveats,
  type SignedBlock
} from './invite-codec.ts'
import { fromText, toText } from './invite-text.ts'
import { labelledHash, signLabelled, verifyLabelled } from './seal.ts'

/** The secrets of a swarm's creator: whoever holds them may invite anybody. */
export interface SwarmRoot {
  readonly seed: Uint8Array
  readonly secret: Uint8Array
}

/** What every member knows of the swarm. */
export interface SwarmKeys {
  /** The creator's public key, 32 bytes. */
  readonly root: Uint8Array
  /** What members share, 32 bytes. */
  readonly secret: Uint8Array
}

/** A checked invite and the key of its holder. */
export interface Invite extends SwarmKeys {
  readonly blocks: readonly SignedBlock[]
  /** Of the last block's key. */
  readonly seed: Uint8Array
  readonly capability: Capability
}

const SIGNATURE_LABEL = 'petals invite block 1'
const ID_BYTES = 16

/** A new swarm. */
export function createSwarm(): SwarmRoot {
  return { seed: freshBytes(), secret: freshBytes() }
}

export function keysOf(root: SwarmRoot): SwarmKeys {
  return { root: createIdentity(root.seed).publicKey, secret: root.secret }
}

/** The id of the swarm, 32 bytes: only members can compute it. */
export function swarmIdOf(keys: SwarmKeys): Uint8Array {
  return labelledHash('petals swarm', [keys.root], keys.secret)
}

/** A new invite from the swarm's creator. @throws AppError BAD_INPUT or LIMIT */
export function issueInvite(root: SwarmRoot, caveats: Caveats = {}): Invite {
  return extend(keysOf(root), [], root.seed, caveats)
}

/** A weaker invite, which anybody who holds one can make. @throws AppError BAD_INPUT or LIMIT */
export function narrowInvite(invite: Invite, caveats: Caveats): Invite {
  if (invite.blocks.length >= INVITE_LIMITS.blocks) {
    throw overLimit(`The invite cannot be narrowed: it was ${INVITE_LIMITS.blocks} times before`)
  }
  return extend(invite, invite.blocks, invite.seed, caveats)
}

/**
 * What a chain of blocks permits, if its signatures are right.
 * @throws AppError CORRUPT for a wrong signature, UNSUPPORTED for conditions that this build does
 * not know
 */
export function checkChain(keys: SwarmKeys, blocks: readonly SignedBlock[]): Capability {
  return capabilityOf(checkBlocks(keys, blocks))
}

export function inviteText(invite: Invite): string {
  return toText(encodeInvite(invite))
}

/** An invite from its line of text. @throws AppError BAD_INPUT, CORRUPT or UNSUPPORTED */
export function parseInvite(text: string): Invite {
  return readInvite(fromText(text))
}

/** An invite from its bytes, every signature checked. @throws AppError CORRUPT or UNSUPPORTED */
export function readInvite(bytes: Uint8Array): Invite {
  try {
    const parts = decodeInvite(bytes)
    const checked = checkBlocks(parts, parts.blocks)
    if (!sameBytes(createIdentity(parts.seed).publicKey, keyOf(checked))) throw forged()
    return { ...parts, capability: capabilityOf(checked) }
  } catch (cause) {
    if (cause instanceof AppError && (cause.code === 'CORRUPT' || cause.code === 'UNSUPPORTED')) {
      throw cause
    }
    throw corrupt('The invite is refused: it is damaged', { cause })
  }
}

function extend(
  keys: SwarmKeys,
  before: readonly SignedBlock[],
  seed: Uint8Array,
  caveats: Caveats
): Invite {
  const next = freshBytes()
  const body = encodeBody({ key: createIdentity(next).publicKey, caveats })
  const previous = before.reduce(chained, swarmIdOf(keys))
  const signer = createIdentity(seed)
  const signature = signLabelled(SIGNATURE_LABEL, [previous, body], signer.secretKey)
  const blocks = [...before, { body, signature }]
  const sizeBytes = blocks.reduce((sum, one) => sum + one.body.byteLength + 67, 0)
  if (sizeBytes > INVITE_LIMITS.chainBytes) {
    throw overLimit(`The invite cannot be made: its conditions take ${sizeBytes} bytes in all`)
  }
  const capability = checkChain(keys, blocks)
  if (capability.may.length === 0) {
    throw badInput('The invite cannot be narrowed so: it would permit nothing')
  }
  const { root, secret } = keys
  return { root, secret, blocks, seed: next, capability }
}

function checkBlocks(keys: SwarmKeys, blocks: readonly SignedBlock[]): CheckedBlock[] {
  if (blocks.length === 0 || blocks.length > INVITE_LIMITS.blocks) throw forged()
  const checked: CheckedBlock[] = []
  let previous = swarmIdOf(keys)
  let signer = keys.root
  for (const block of blocks) {
    const { body, signature } = block
    if (!verifyLabelled(SIGNATURE_LABEL, [previous, body], signature, signer)) throw forged()
    const { key, caveats } = decodeBody(body)
    previous = chained(previous, block)
    signer = key
    checked.push({ id: toHex(previous.subarray(0, ID_BYTES)), key: new Uint8Array(key), caveats })
  }
  return checked
}

function chained(previous: Uint8Array, block: SignedBlock): Uint8Array {
  return labelledHash('petals invite id', [previous, block.body])
}

function keyOf(checked: readonly CheckedBlock[]): Uint8Array {
  return checked.at(-1)?.key ?? new Uint8Array(0)
}

function forged(): AppError {
  return corrupt('The invite is refused: its signatures do not hold', {
    hint: 'Ask for a new one'
  })
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

function freshBytes(): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(32))
}
