// An Ed25519 key pair: who a peer is. Servers keep theirs on disk, clients make one for the day.
// The file holds the seed and the public key, so that a damaged one does not pass for another peer.
import { mkdir, readFile, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { crypto_sign_seed_keypair } from 'sodium-universal'
import { toHex } from '../base/bytes.ts'
import { AppError, corrupt, denied, unavailable } from '../base/errors.ts'
import { isOpenMode, keepsModes } from '../base/files/ownership.ts'
import { createWhole } from '../base/files/whole-file.ts'

export interface Identity {
  readonly publicKey: Uint8Array
  readonly secretKey: Uint8Array
}

const FILE_NAME = 'identity'
const FORMAT = /^petals-identity-1 ([0-9a-f]{64}) ([0-9a-f]{64})\n$/
/** A whole file has 148 bytes. */
const MAX_FILE_BYTES = 1024

/** The key pair of a seed of 32 bytes, or a new one. */
export function createIdentity(
  seed: Uint8Array = crypto.getRandomValues(new Uint8Array(32))
): Identity {
  if (seed.byteLength !== 32) throw new RangeError(`A seed has 32 bytes, not ${seed.byteLength}`)
  const publicKey = Buffer.alloc(32)
  const secretKey = Buffer.alloc(64)
  crypto_sign_seed_keypair(publicKey, secretKey, Buffer.from(seed))
  return { publicKey, secretKey }
}

/**
 * The identity kept in a folder, made and written there when there is none.
 * @throws AppError CORRUPT for a damaged file, DENIED for one that others may read
 */
export async function loadIdentity(dir: string): Promise<Identity> {
  const path = join(dir, FILE_NAME)
  const known = await readIdentity(path)
  if (known) return known
  const seed = crypto.getRandomValues(new Uint8Array(32))
  const made = createIdentity(seed)
  const text = `petals-identity-1 ${toHex(seed)} ${toHex(made.publicKey)}\n`
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 })
    if (await createWhole(path, text)) return made
  } catch (cause) {
    throw unavailable(`The identity cannot be kept in '${path}': ${reason(cause)}`, {
      hint: 'Choose a folder that can be written to',
      cause
    })
  }
  // Another process was faster: both are that peer then.
  const theirs = await readIdentity(path)
  if (!theirs) throw unavailable(`The identity in '${path}' vanished while it was read`)
  return theirs
}

async function readIdentity(path: string): Promise<Identity | undefined> {
  try {
    const found = await stat(path)
    if (!found.isFile())
      throw unavailable(`The identity cannot be kept in '${path}': it is no file`)
    const { mode, size } = found
    if (isOpenMode(mode) && keepsModes(dirname(path))) {
      throw denied(`The identity in '${path}' is refused: others may read or change it`, {
        hint: `If it is still yours alone: chmod 600 '${path}'`
      })
    }
    if (size > MAX_FILE_BYTES) throw damaged(path)
    return parseIdentity(await readFile(path, 'utf8'), path)
  } catch (cause) {
    if (cause instanceof AppError) throw cause
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw unavailable(`The identity in '${path}' cannot be read: ${reason(cause)}`, { cause })
  }
}

function parseIdentity(text: string, path: string): Identity {
  const [, seed, publicKey] = FORMAT.exec(text) ?? []
  if (seed === undefined || publicKey === undefined) throw damaged(path)
  const identity = createIdentity(Buffer.from(seed, 'hex'))
  if (toHex(identity.publicKey) !== publicKey) throw damaged(path)
  return identity
}

function damaged(path: string): AppError {
  return corrupt(`The identity in '${path}' is damaged: it is not what was written there`, {
    hint: 'Restore it from a copy, or remove the file to become a new peer'
  })
}

function reason(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
