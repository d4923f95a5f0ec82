// Chat's flags for kept prefixes: whether servers may keep what they computed, the secret by which
// it is asked for next time, and whose published instructions a conversation begins with.
import { join } from 'node:path'
import { badInput, corrupt, toAppError } from '../../base/errors.ts'
import type { Identity } from '../../swarm/identity.ts'
import { claimIdentity } from '../claim-identity.ts'
import type { Context } from '../context.ts'
import { readPrivate, writePrivate } from '../../library/open/private-file.ts'
import type { PrefixSecret } from '../../library/petals.ts'
import { systemTokens, type ChatModel } from '../../library/text/conversation.ts'
import type { Published } from '../../library/text/owned-generator.ts'

export interface PrefixFlags {
  system?: string | undefined
  raw?: boolean | undefined
  /** False with --no-prefix-cache. */
  prefixCache?: boolean | undefined
  forget?: boolean | undefined
  share?: boolean | undefined
  sharedBy?: string | undefined
}

const SECRET_BYTES = 32
const SECRET_FILE = 'prefix-secret'

/** @throws AppError BAD_INPUT if flags contradict each other */
export function checkPrefixFlags(flags: PrefixFlags): void {
  const shares = flags.share === true
  const [name, other] = shares ? ['--share', '--shared-by'] : ['--shared-by', '']
  if (!shares && flags.sharedBy === undefined) return
  if (shares && flags.sharedBy !== undefined)
    throw badInput(`${name} and ${other} exclude each other`)
  if (flags.system === undefined || flags.raw === true) {
    throw badInput(`${name} is about instructions: there are none`, {
      hint: 'Give them with --system'
    })
  }
  if (flags.prefixCache === false || flags.forget === true) {
    throw badInput(`${name} needs servers to keep them`, {
      hint: 'Leave out --no-prefix-cache and --forget'
    })
  }
  if (!shares) makerOf(flags)
}

/**
 * The user's secret, created if there is none. If it cannot be stored, the chat continues without
 * one.
 */
export async function prefixSecret(
  flags: PrefixFlags,
  context: Context
): Promise<PrefixSecret | false> {
  if (flags.prefixCache === false) return false
  const forget = flags.forget === true
  try {
    return { secret: await keptSecret(join(context.paths.data, SECRET_FILE)), forget }
  } catch (error) {
    context.log.warn(`servers will not know this chat again: ${toAppError(error).message}`)
    return { secret: crypto.getRandomValues(new Uint8Array(SECRET_BYTES)), forget }
  }
}

/** The key under which instructions are shared, always the same. @throws AppError IN_USE */
export async function sharingIdentity(
  stack: AsyncDisposableStack,
  flags: PrefixFlags,
  context: Context
): Promise<Identity | undefined> {
  if (flags.share !== true) return undefined
  const folder = join(context.paths.data, 'identities', 'sharing')
  const { identity, release } = await claimIdentity(folder, '', context)
  stack.defer(release)
  return identity
}

/** @param self this client's key, if it shares */
export function publishedSystem(
  flags: PrefixFlags,
  model: ChatModel,
  self: Uint8Array
): Published | undefined {
  const make = flags.share === true
  if (!make && flags.sharedBy === undefined) return undefined
  const length = systemTokens(model, flags.system ?? '')
  return { maker: make ? self : makerOf(flags), length, make }
}

function makerOf(flags: PrefixFlags): Uint8Array {
  const text = flags.sharedBy ?? ''
  if (!/^[0-9a-f]{64}$/i.test(text)) {
    throw badInput(`--shared-by cannot be '${text}'`, {
      hint: 'Give the 64 digits that --share printed'
    })
  }
  return new Uint8Array(Buffer.from(text, 'hex'))
}

async function keptSecret(path: string): Promise<Uint8Array> {
  const read = async (): Promise<Uint8Array | undefined> => {
    const bytes = await readPrivate(path, { maxBytes: SECRET_BYTES })
    if (bytes && bytes.byteLength !== SECRET_BYTES) {
      throw corrupt(`'${path}' is no secret: it has ${bytes.byteLength} bytes`)
    }
    return bytes && new Uint8Array(bytes)
  }
  const known = await read()
  if (known) return known
  const made = crypto.getRandomValues(new Uint8Array(SECRET_BYTES))
  try {
    await writePrivate(path, made, { fresh: true })
    return made
  } catch (error) {
    // Another chat created one at the same time.
    if (toAppError(error).code !== 'IN_USE') throw error
    return (await read()) ?? made
  }
}
