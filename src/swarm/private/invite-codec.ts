// The bytes of an invite: one block of its chain, the chain, and the part that the holder keeps.
// Knows no signatures; invite.ts makes and checks them, invite-text.ts turns an invite into a line
// of text.
//
//   body     version uint | key: who may narrow next | flags | fields in the order of bits
//            bit 0 may uint (1 chat, 2 serve, 4 tune), 1 models list(16, model),
//            2 tokensPerDay uint, 3 sessions uint, 4 expiresAt uint (seconds), 5 label str(64)
//            model: 0 | content id, or 1 | name str(128)
//   chain    list(8, bytes(1024) body | signature)
//   invite   version uint | root key | secret | seed of the last key | <chain>
//
// Each body restricts, so unlike on the wire unknown fields are not skipped: that would ignore a
// restriction.
import { toHex } from '../../base/bytes.ts'
import { badInput, corrupt, overLimit, unsupported, type AppError } from '../../base/errors.ts'
import { decodeMessage, encodeMessage } from '../../wire/codec/encode.ts'
import {
  bytesUpTo,
  fixedBytes,
  key,
  listUpTo,
  mapped,
  stringUpTo,
  uintUpTo,
  type Codec,
  type State
} from '../../wire/codec/fields.ts'
import { bare, checkedWhenRead, optional, record, versioned } from '../../wire/codec/record.ts'

/** `tune`: to have servers compute steps of a training. */
export type Act = 'chat' | 'serve' | 'tune'

export const ACTS: readonly Act[] = ['chat', 'serve', 'tune']

/** What one block restricts; a field that is absent restricts nothing. */
export interface Caveats {
  /** What the holder may do; a block that says nothing leaves all that its chain permits. */
  readonly may?: readonly Act[]
  /** Content ids (64 hex digits) or names of the models that it is for. */
  readonly models?: readonly string[]
  /**
   * Tokens that one server computes for all its holders together in a day of UTC. Those of a
   * training count each time that they come: forwards, and back.
   */
  readonly tokensPerDay?: number
  /** Sessions that all its holders together may have open at one server. */
  readonly sessions?: number
  /** Wall clock, ms, whole seconds. */
  readonly expiresAt?: number
  /** For people, e.g. who received it. */
  readonly label?: string
}

export interface SignedBlock {
  readonly body: Uint8Array
  readonly signature: Uint8Array
}

export interface BlockBody {
  /** The key that signs the next block, or the holder's proof. */
  readonly key: Uint8Array
  readonly caveats: Caveats
}

export interface InviteParts {
  readonly root: Uint8Array
  readonly secret: Uint8Array
  readonly seed: Uint8Array
  readonly blocks: readonly SignedBlock[]
}

export const INVITE_LIMITS = {
  /** Levels of narrowing: a root, an organisation, a team, a person, a machine, and a few more. */
  blocks: 8,
  bodyBytes: 1024,
  /** Bytes of a whole chain: a proof of it must fit LIMITS.proofBytes of the wire. */
  chainBytes: 3000,
  models: 16,
  nameBytes: 128,
  labelBytes: 64,
  tokensPerDay: 1e12,
  sessions: 65_535
} as const

const BLOCK_VERSION = 1
const INVITE_VERSION = 1
/** Characters that a terminal shows as they are. */
const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]+$/u
const CONTENT_ID = /^[0-9a-f]{64}$/

const modelKind = uintUpTo(1, 'the kind of a model')
const modelName = printable(stringUpTo(INVITE_LIMITS.nameBytes, "the model's name"), 'a model')

/** A content id, or a name. */
const model: Codec<string> = {
  preencode(state, value) {
    modelKind.preencode(state, CONTENT_ID.test(value) ? 0 : 1)
    if (CONTENT_ID.test(value)) key.preencode(state, Buffer.from(value, 'hex'))
    else modelName.preencode(state, value)
  },
  encode(state, value) {
    modelKind.encode(state, CONTENT_ID.test(value) ? 0 : 1)
    if (CONTENT_ID.test(value)) key.encode(state, Buffer.from(value, 'hex'))
    else modelName.encode(state, value)
  },
  decode: (state) =>
    modelKind.decode(state) === 0 ? toHex(key.decode(state)) : modelName.decode(state)
}

const caveats = record<Caveats>(
  {
    may: optional(mapped(uintUpTo(7, 'what the invite permits'), bitsOf, actsOf)),
    models: optional(listUpTo(INVITE_LIMITS.models, model, 'models')),
    tokensPerDay: optional(uintUpTo(INVITE_LIMITS.tokensPerDay, 'the tokens a day')),
    sessions: optional(uintUpTo(INVITE_LIMITS.sessions, 'the sessions')),
    expiresAt: optional(
      mapped(
        uintUpTo(8_640_000_000_000, 'the time of expiry'),
        (ms: number) => Math.floor(ms / 1000),
        (seconds) => seconds * 1000
      )
    ),
    label: optional(printable(stringUpTo(INVITE_LIMITS.labelBytes, 'the label'), 'a label'))
  },
  { strict: () => tooNew('it has a condition not known here') }
)

const bodyCodec = checkedWhenRead(
  versioned(BLOCK_VERSION, bare<BlockBody>({ key, caveats }), (version) =>
    tooNew(`its block has version ${version}`)
  ),
  (_, state) => checkEnd(state)
)

/** A chain within another record. */
export const chainCodec: Codec<readonly SignedBlock[]> = listUpTo(
  INVITE_LIMITS.blocks,
  bare<SignedBlock>({
    body: bytesUpTo(INVITE_LIMITS.bodyBytes, 'a block of the invite'),
    signature: fixedBytes(64)
  }),
  'blocks of the invite'
)

const inviteCodec = checkedWhenRead(
  versioned(
    INVITE_VERSION,
    bare<InviteParts>({ root: key, secret: key, seed: key, blocks: chainCodec }),
    (version) => tooNew(`it has version ${version}`)
  ),
  (_, state) => checkEnd(state)
)

/** @throws AppError BAD_INPUT for conditions that make no sense, LIMIT for too many */
export function encodeBody(block: BlockBody): Uint8Array {
  checkCaveats(block.caveats)
  const bytes = encodeMessage(bodyCodec, block)
  if (bytes.byteLength <= INVITE_LIMITS.bodyBytes) return bytes
  throw overLimit(`The invite cannot be made: its conditions take ${bytes.byteLength} bytes`)
}

/** @throws AppError */
export function decodeBody(bytes: Uint8Array): BlockBody {
  return decodeMessage(bodyCodec, bytes)
}

export function encodeInvite(invite: InviteParts): Uint8Array {
  return encodeMessage(inviteCodec, invite)
}

/** Reads the bytes without checking signatures: see readInvite(). @throws AppError */
export function decodeInvite(bytes: Uint8Array): InviteParts {
  return decodeMessage(inviteCodec, bytes)
}

function checkCaveats(caveats: Caveats): void {
  const { may, label: words } = caveats
  if (may?.length === 0) throw badInput('The invite cannot be made: it would permit nothing')
  if (caveats.models?.length === 0) throw badInput('The invite cannot be made: it names no model')
  for (const text of [...(caveats.models ?? []), ...(words === undefined ? [] : [words])]) {
    if (!PRINTABLE.test(text)) {
      throw badInput(`The invite cannot be made: '${text}' is empty or has unprintable characters`)
    }
  }
  const longest = Math.max(0, ...(caveats.models ?? []).map((one) => Buffer.byteLength(one)))
  // The codec would cut a name that is too long, and a cut name is another model's.
  if (
    longest > INVITE_LIMITS.nameBytes ||
    Buffer.byteLength(words ?? '') > INVITE_LIMITS.labelBytes
  ) {
    throw overLimit('The invite cannot be made: a name or label is too long')
  }
}

function bitsOf(may: readonly Act[]): number {
  return may.reduce((bits, act) => bits | (1 << ACTS.indexOf(act)), 0)
}

function actsOf(bits: number): readonly Act[] {
  return ACTS.filter((_, bit) => (bits & (1 << bit)) !== 0)
}

function printable(inner: Codec<string>, what: string): Codec<string> {
  return checkedWhenRead(inner, (text) => {
    if (PRINTABLE.test(text)) return
    throw corrupt(`The invite is refused: ${what} has unprintable characters`)
  })
}

function checkEnd(state: State): void {
  if (state.start !== state.end) throw corrupt('The invite is refused: bytes follow its end')
}

function tooNew(why: string): AppError {
  return unsupported(`The invite is refused: ${why}`, { hint: 'Use a newer version of petals' })
}
