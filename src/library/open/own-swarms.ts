// The swarms that this machine's user has made: a file each under the data folder with the root
// key, the invites that were given out (what they permit, not the invites themselves) and those
// taken back. Knows no network.
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { toHex } from '../../base/bytes.ts'
import { badInput, corrupt, notFound } from '../../base/errors.ts'
import type { Paths } from '../../base/paths.ts'
import type { Caveats } from '../../swarm/private/invite-codec.ts'
import {
  createSwarm,
  inviteText,
  issueInvite,
  parseInvite,
  type Invite,
  type SwarmRoot
} from '../../swarm/private/invite.ts'
import {
  MAX_REVOKED,
  signRevocations,
  type RevocationList
} from '../../swarm/private/revocations.ts'
import { readPrivate, writePrivate } from './private-file.ts'

export interface IssuedInvite extends Caveats {
  readonly id: string
  /** Wall clock, ms. */
  readonly issuedAt: number
}

export interface OwnSwarm {
  readonly name: string
  readonly root: SwarmRoot
  /** The creator's own, unrestricted. */
  readonly invite: Invite
  readonly issued: readonly IssuedInvite[]
  /** Number of the last list; 0: none yet. */
  readonly seq: number
  readonly revoked: readonly string[]
}

const FORMAT = 'petals-swarm-1'
const NAME = /^[a-z][a-z0-9._-]{0,63}$/i
const KEY = /^[0-9a-f]{64}$/
const ID = /^[0-9a-f]{32}$/
const MAX_FILE_BYTES = 16 * 1024 * 1024

/** Whether this can be the name of a swarm, and so no path and no invite. */
export function isSwarmName(text: string): boolean {
  return NAME.test(text) && !text.startsWith('petals1')
}

/** @throws AppError BAD_INPUT for no name, IN_USE when there is such a swarm */
export async function createOwnSwarm(paths: Paths, name: string): Promise<OwnSwarm> {
  checkName(name)
  const root = createSwarm()
  const invite = issueInvite(root, { label: 'creator' })
  const swarm: OwnSwarm = { name, root, invite, issued: [], seq: 0, revoked: [] }
  await writePrivate(pathOf(paths, name), textOf(swarm), { fresh: true }).catch((error) => {
    if (error.code !== 'IN_USE') throw error
    throw badInput(`The swarm '${name}' cannot be made: there is one of this name`, {
      hint: 'Choose another name'
    })
  })
  return swarm
}

/** Undefined when this machine has no such swarm. @throws AppError CORRUPT or DENIED */
export async function findOwnSwarm(paths: Paths, name: string): Promise<OwnSwarm | undefined> {
  if (!isSwarmName(name)) return undefined
  const path = pathOf(paths, name)
  const bytes = await readPrivate(path, { maxBytes: MAX_FILE_BYTES })
  return bytes && parse(name, path, bytes.toString('utf8'))
}

/** @throws AppError NOT_FOUND */
export async function readOwnSwarm(paths: Paths, name: string): Promise<OwnSwarm> {
  checkName(name)
  const swarm = await findOwnSwarm(paths, name)
  if (swarm) return swarm
  throw notFound(`There is no swarm '${name}' on this machine`, {
    hint: `Only who made a swarm can do this: petals swarm create ${name}`
  })
}

/** The swarms of this machine, by name. @throws AppError CORRUPT or DENIED for one of them */
export async function listOwnSwarms(paths: Paths): Promise<OwnSwarm[]> {
  const files = await readdir(join(paths.data, 'swarms')).catch(() => [])
  const names = files.flatMap((file) => /^(.+)\.json$/.exec(file)?.[1] ?? []).filter(isSwarmName)
  const swarms = await Promise.all(names.sort().map((name) => findOwnSwarm(paths, name)))
  return swarms.filter((swarm) => swarm !== undefined)
}

export async function writeOwnSwarm(paths: Paths, swarm: OwnSwarm): Promise<void> {
  await writePrivate(pathOf(paths, swarm.name), textOf(swarm))
}

/** A new invite, and the swarm that remembers it. */
export function inviteTo(
  swarm: OwnSwarm,
  caveats: Caveats,
  now: number
): { swarm: OwnSwarm; invite: Invite } {
  const invite = issueInvite(swarm.root, caveats)
  const id = invite.capability.ids.at(-1) ?? ''
  const issued = [...swarm.issued, { ...caveats, id, issuedAt: now }]
  return { swarm: { ...swarm, issued }, invite }
}

/**
 * The ids that a word names: a label, an id or the beginning of one; an id need not be known here.
 * @throws AppError NOT_FOUND, or BAD_INPUT when it names several invites by their ids
 */
export function idsNamed(swarm: OwnSwarm, word: string): string[] {
  const labelled = swarm.issued.filter(({ label }) => label === word).map(({ id }) => id)
  if (labelled.length > 0) return labelled
  const known = swarm.issued.filter(({ id }) => word.length >= 6 && id.startsWith(word))
  if (known.length > 1) throw badInput(`'${word}' begins the ids of ${known.length} invites`)
  if (known.length === 1) return known.map(({ id }) => id)
  if (ID.test(word)) return [word]
  throw notFound(`No invite to '${swarm.name}' has the label or id '${word}'`, {
    hint: `petals swarm members ${swarm.name} lists them`
  })
}

/**
 * The swarm with more invites taken back; those that have expired since need no place in the list.
 */
export function revokeIn(swarm: OwnSwarm, ids: readonly string[], now: number): OwnSwarm {
  const expired = new Set(
    swarm.issued.filter(({ expiresAt = Infinity }) => expiresAt <= now).map(({ id }) => id)
  )
  const revoked = [...new Set([...swarm.revoked, ...ids])].filter((id) => !expired.has(id))
  if (revoked.length > MAX_REVOKED) {
    throw badInput(`No more than ${MAX_REVOKED} invites can be revoked`, {
      hint: 'Make a new swarm, and invite again who may stay'
    })
  }
  // The clock, so that a swarm restored from an old copy does not count from there.
  return { ...swarm, revoked, seq: Math.max(swarm.seq + 1, now) }
}

/** The list as members believe it; undefined when nothing was ever revoked. */
export function revocationsOf(swarm: OwnSwarm): RevocationList | undefined {
  return swarm.seq === 0 ? undefined : signRevocations(swarm.root, swarm.seq, swarm.revoked)
}

function checkName(name: string): void {
  if (isSwarmName(name)) return
  throw badInput(`A swarm cannot be called '${name.slice(0, 64)}'`, {
    hint: 'Use letters, digits, dots, hyphens and underscores, a letter first'
  })
}

function pathOf(paths: Paths, name: string): string {
  return join(paths.data, 'swarms', `${name}.json`)
}

function textOf(swarm: OwnSwarm): string {
  const { root, invite, issued, seq, revoked } = swarm
  const text = JSON.stringify(
    {
      format: FORMAT,
      seed: toHex(root.seed),
      secret: toHex(root.secret),
      invite: inviteText(invite),
      issued,
      seq,
      revoked
    },
    undefined,
    1
  )
  return `${text}\n`
}

function parse(name: string, path: string, text: string): OwnSwarm {
  const bad = (): Error =>
    corrupt(`The swarm in '${path}' is damaged`, { hint: 'Restore the file from a copy' })
  let value: Record<string, unknown>
  try {
    value = (JSON.parse(text) ?? {}) as Record<string, unknown>
  } catch {
    throw bad()
  }
  const { format, seed, secret, invite, issued, seq, revoked } = value
  const keys = [seed, secret].every((one) => typeof one === 'string' && KEY.test(one))
  if (format !== FORMAT || !keys || typeof invite !== 'string') throw bad()
  if (!Array.isArray(issued) || !Array.isArray(revoked) || !Number.isSafeInteger(seq)) throw bad()
  const known = issued.every((one: unknown) => ID.test(String((one as IssuedInvite | null)?.id)))
  if (!known || !revoked.every((id: unknown) => ID.test(String(id)))) throw bad()
  return {
    name,
    root: { seed: Buffer.from(String(seed), 'hex'), secret: Buffer.from(String(secret), 'hex') },
    invite: parseInvite(invite),
    issued: issued as readonly IssuedInvite[],
    seq: Number(seq),
    revoked: revoked as readonly string[]
  }
}
