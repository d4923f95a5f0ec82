// The bytes of an invite: what one block of its chain says, the chain, and what the holder keeps.
// Knows no signatures; invite.ts makes and checks them, invite-text.ts makes a line of text of them.
//
//   body     version uint | key: who may narrow next | flags | fields in the order of bits
//            bit 0 may uint (1 chat, 2 serve), 1 models list(16, model), 2 tokensPerDay uint,
//            3 sessions uint, 4 expiresAt uint (seconds), 5 label str(64)
//            model: 0 | content id, or 1 | name str(128)
//   chain    list(8, bytes(1024) body | signature)
//   invite   version uint | root key | secret | seed of the last key | <chain>
//
// Each body restricts, so unlike on the wire nothing unknown is skipped: it would be a restriction
// that is not kept.
import { toHex } from '../../base/bytes.ts'
import { badInput, corrupt, overLimit, unsupported, type AppError } from '../../base/errors.ts'
import { decodeMessage, encodeMessage } from '../../wire/codecs.ts'
import {
  bytesUpTo,
  fixedBytes,
  flags,
  key,
  listUpTo,
  stringUpTo,
  uintUpTo,
  type Codec,
  type State
} from '../../wire/fields.ts'

export type Act = 'chat' | 'serve'

/** What one block restricts; a field that is absent restricts nothing. */
export interface Caveats {
  /** What the holder may do. */
  readonly may?: readonly Act[]
  /** Content ids (64 hex digits) or names of the models it is good for. */
  readonly models?: readonly string[]
  /** Tokens that one server computes for all holders together in a day of UTC. */
  readonly tokensPerDay?: number
  /** Sessions that all holders together may have open at one server. */
  readonly sessions?: number
  /** Wall clock, ms, whole seconds. */
  readonly expiresAt?: number
  /** For people, e.g. who got it. */
  readonly label?: string
}

export interface SignedBlock {
  readonly body: Uint8Array
  readonly signature: Uint8Array
}

export interface BlockBody {
  /** Whose signature the next block needs, and whose the holder's proof. */
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
  /** Narrowings of narrowings: a root, an organisation, a team, a person, a machine, and some. */
  blocks: 8,
  bodyBytes: 1024,
  /** A whole chain: a proof of it must fit LIMITS.proofBytes of the wire. */
  chainBytes: 3000,
  models: 16,
  nameBytes: 128,
  labelBytes: 64,
  tokensPerDay: 1e12,
  sessions: 65_535
} as const

const BLOCK_VERSION = 1
const INVITE_VERSION = 1
const ACTS: readonly Act[] = ['chat', 'serve']
const KNOWN_FIELDS = 0b11_1111
/** What a terminal shows as it is. */
const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]+$/u
const CONTENT_ID = /^[0-9a-f]{64}$/

const version = uintUpTo(Number.MAX_SAFE_INTEGER, 'the version of the invite')
const acts = uintUpTo(3, 'what the invite permits')
const tokensPerDay = uintUpTo(INVITE_LIMITS.tokensPerDay, 'the tokens a day')
const sessions = uintUpTo(INVITE_LIMITS.sessions, 'the sessions')
const seconds = uintUpTo(8_640_000_000_000, 'the time of expiry')
const label = stringUpTo(INVITE_LIMITS.labelBytes, 'the label')
const name = stringUpTo(INVITE_LIMITS.nameBytes, "the model's name")
const modelKind = uintUpTo(1, 'the kind of a model')

const model: Codec<string> = {
  preencode(state, value) {
    modelKind.preencode(state, CONTENT_ID.test(value) ? 0 : 1)
    if (CONTENT_ID.test(value)) key.preencode(state, Buffer.from(value, 'hex'))
    else name.preencode(state, value)
  },
  encode(state, value) {
    modelKind.encode(state, CONTENT_ID.test(value) ? 0 : 1)
    if (CONTENT_ID.test(value)) key.encode(state, Buffer.from(value, 'hex'))
    else name.encode(state, value)
  },
  decode(state) {
    if (modelKind.decode(state) === 0) return toHex(key.decode(state))
    return printable(name.decode(state), 'a model')
  }
}
const models = listUpTo(INVITE_LIMITS.models, model, 'models')

/** One way through the fields for preencode and encode: the same order in both. */
function eachField(caveats: Caveats, use: <T>(codec: Codec<T>, value: T) => void): number {
  let bits = 0
  const field = <T>(bit: number, codec: Codec<T>, value: T | undefined): void => {
    if (value === undefined) return
    bits |= 1 << bit
    use(codec, value)
  }
  const { may, expiresAt } = caveats
  field(0, acts, may && bitsOf(may))
  field(1, models, caveats.models)
  field(2, tokensPerDay, caveats.tokensPerDay)
  field(3, sessions, caveats.sessions)
  field(4, seconds, expiresAt === undefined ? undefined : Math.floor(expiresAt / 1000))
  field(5, label, caveats.label)
  return bits
}

const bodyCodec: Codec<BlockBody> = {
  preencode(state, body) {
    version.preencode(state, BLOCK_VERSION)
    key.preencode(state, body.key)
    flags.preencode(
      state,
      eachField(body.caveats, () => {})
    )
    eachField(body.caveats, (codec, value) => codec.preencode(state, value))
  },
  encode(state, body) {
    version.encode(state, BLOCK_VERSION)
    key.encode(state, body.key)
    flags.encode(
      state,
      eachField(body.caveats, () => {})
    )
    eachField(body.caveats, (codec, value) => codec.encode(state, value))
  },
  decode(state) {
    const number = version.decode(state)
    if (number !== BLOCK_VERSION) throw tooNew(`its block has version ${number}`)
    const next = key.decode(state)
    const bits = flags.decode(state)
    if ((bits & ~KNOWN_FIELDS) !== 0) throw tooNew('it has a condition not known here')
    const caveats: { -readonly [K in keyof Caveats]: Caveats[K] } = {}
    const field = (bit: number, read: () => void): void => {
      if ((bits & (1 << bit)) !== 0) read()
    }
    field(0, () => (caveats.may = actsOf(acts.decode(state))))
    field(1, () => (caveats.models = models.decode(state)))
    field(2, () => (caveats.tokensPerDay = tokensPerDay.decode(state)))
    field(3, () => (caveats.sessions = sessions.decode(state)))
    field(4, () => (caveats.expiresAt = seconds.decode(state) * 1000))
    field(5, () => (caveats.label = printable(label.decode(state), 'a label')))
    ended(state)
    return { key: next, caveats }
  }
}

const signedBlock: Codec<SignedBlock> = {
  preencode(state, block) {
    body.preencode(state, block.body)
    signature.preencode(state, block.signature)
  },
  encode(state, block) {
    body.encode(state, block.body)
    signature.encode(state, block.signature)
  },
  decode: (state) => ({ body: body.decode(state), signature: signature.decode(state) })
}
const body = bytesUpTo(INVITE_LIMITS.bodyBytes, 'a block of the invite')
const signature = fixedBytes(64)

/** A chain within another record. */
export const chainCodec: Codec<readonly SignedBlock[]> = listUpTo(
  INVITE_LIMITS.blocks,
  signedBlock,
  'blocks of the invite'
)

const inviteCodec: Codec<InviteParts> = {
  preencode(state, invite) {
    version.preencode(state, INVITE_VERSION)
    for (const one of [invite.root, invite.secret, invite.seed]) key.preencode(state, one)
    chainCodec.preencode(state, invite.blocks)
  },
  encode(state, invite) {
    version.encode(state, INVITE_VERSION)
    for (const one of [invite.root, invite.secret, invite.seed]) key.encode(state, one)
    chainCodec.encode(state, invite.blocks)
  },
  decode(state) {
    const number = version.decode(state)
    if (number !== INVITE_VERSION) throw tooNew(`it has version ${number}`)
    const invite = {
      root: key.decode(state),
      secret: key.decode(state),
      seed: key.decode(state),
      blocks: chainCodec.decode(state)
    }
    ended(state)
    return invite
  }
}

/** @throws AppError BAD_INPUT for caveats that make no sense, LIMIT for too many */
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

/** What the bytes say, unchecked: see readInvite(). @throws AppError */
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
  // The codec would cut a text in two, and a cut name is another model's.
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

function printable(text: string, what: string): string {
  if (PRINTABLE.test(text)) return text
  throw corrupt(`The invite is refused: ${what} has unprintable characters`)
}

function ended(state: State): void {
  if (state.start !== state.end) throw corrupt('The invite is refused: bytes follow its end')
}

function tooNew(why: string): AppError {
  return unsupported(`The invite is refused: ${why}`, { hint: 'Use a newer version of petals' })
}
