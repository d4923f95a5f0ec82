// --swarm: an invite from wherever it is kept, made a membership that remembers which invites were
// revoked. What the invite says is never printed.
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { toHex } from '../../base/bytes.ts'
import { badInput, notFound, toAppError } from '../../base/errors.ts'
import { isOpenMode } from '../../base/files/ownership.ts'
import type { Model } from '../../model/types.ts'
import type { NamedModel } from '../../swarm/private/capability.ts'
import { looksLikeInvite } from '../../swarm/private/invite-text.ts'
import { parseInvite, swarmIdOf, type Invite } from '../../swarm/private/invite.ts'
import { formatKnown, parseKnown } from '../../swarm/dht/known-nodes.ts'
import { OPEN_LAN_KEY } from '../../swarm/dht/lan.ts'
import { Rendezvous, type RendezvousOptions } from '../../swarm/dht/rendezvous.ts'
import { Membership } from '../../swarm/private/membership.ts'
import type { Surroundings } from '../surroundings.ts'
import { findOwnSwarm, revocationsOf } from './own-swarms.ts'
import { readPrivate, writePrivate } from './private-file.ts'

export interface SwarmOptions {
  bootstrap?: string | undefined
  swarm?: string | undefined
  lan?: boolean | undefined
}

const MAX_INVITE_BYTES = 64 * 1024
const MAX_LIST_BYTES = 64 * 1024

/** What --swarm or PETALS_SWARM names; undefined: the open swarm. @throws AppError */
export async function openMembership(
  flags: SwarmOptions,
  context: Surroundings
): Promise<Membership | undefined> {
  if (flags.swarm === '') {
    // A variable that is not set must not lead into the open swarm.
    throw badInput("--swarm cannot be ''", { hint: 'Leave it out for the open swarm' })
  }
  const given = flags.swarm ?? context.env['PETALS_SWARM']
  if (given === undefined || given === '') return undefined
  const { invite, revocations } = await findInvite(String(given), context)
  const kept = join(folderOf(toHex(swarmIdOf(invite)), context), 'revocations')
  const known = await readPrivate(kept, { maxBytes: MAX_LIST_BYTES })
  const membership = new Membership(invite, {
    revocations: known,
    log: context.log,
    onrevocations: (list) => {
      writePrivate(kept, list.bytes).catch((error: unknown) => {
        context.log.warn(`the revoked invites are not kept: ${toAppError(error).message}`)
      })
    }
  })
  if (revocations) membership.learn(revocations)
  if (membership.barred) throw membership.barred
  return membership
}

export interface MeetingOptions extends SwarmOptions {
  host?: string | undefined
}

/**
 * Where a swarm is met: at the nodes that the flags name, or at those of earlier runs.
 * @param stay whether this process stays and serves, and whether it waits for somebody
 */
export async function openRendezvous(
  flags: MeetingOptions,
  membership: Membership | undefined,
  { serving, waits }: Pick<RendezvousOptions, 'serving' | 'waits'>,
  context: Surroundings
): Promise<Rendezvous> {
  const { bootstrap, log } = context
  const lan = flags.lan === true
  const path = knownNodesPath(lan, membership, context)
  const known = path && (await readPrivate(path, { maxBytes: MAX_LIST_BYTES }))
  return new Rendezvous({
    bootstrap,
    known: parseKnown(known?.toString('utf8') ?? ''),
    keep: path === undefined ? undefined : (nodes) => writePrivate(path, formatKnown(nodes)),
    serving,
    waits,
    lanKey: lan ? (membership?.lanKey ?? OPEN_LAN_KEY) : undefined,
    host: flags.host,
    log
  })
}

/**
 * Apart for each DHT: the nodes of one are no way into another. Undefined: the public one has its
 * own.
 */
function knownNodesPath(
  lan: boolean,
  membership: Membership | undefined,
  context: Surroundings
): string | undefined {
  const { bootstrap } = context
  if (!lan && !membership && bootstrap.length === 0) return undefined
  const folder = folderOf(membership?.swarmId ?? 'open', context)
  if (lan) return join(folder, 'nodes-lan')
  if (bootstrap.length === 0) return join(folder, 'nodes-public')
  if (membership) return join(folder, 'nodes-own')
  const names = bootstrap.map(({ host, port }) => `${host}:${port}`).sort()
  return join(folder, `nodes-${Bun.hash(names.join()).toString(16)}`)
}

/**
 * An invite by its text, '-' for stdin, '@file', a swarm made on this machine, or a file.
 * @throws AppError BAD_INPUT, NOT_FOUND, CORRUPT or UNSUPPORTED; what was given is not repeated
 */
export async function findInvite(
  given: string,
  context: Surroundings
): Promise<{ invite: Invite; revocations?: Uint8Array }> {
  const text = given.trim()
  if (looksLikeInvite(text)) return { invite: parseInvite(text) }
  if ((text === '-' || text === '@-') && context.readStdin) {
    return { invite: parseInvite((await context.readStdin(MAX_INVITE_BYTES)).trim()) }
  }
  if (text.startsWith('@')) return { invite: await readInviteFile(text.slice(1), context) }
  const own = await findOwnSwarm(context.paths, text)
  if (own) {
    const list = revocationsOf(own)
    return { invite: own.invite, ...(list ? { revocations: list.bytes } : {}) }
  }
  if (await isFile(text)) return { invite: await readInviteFile(text, context) }
  throw badInput('The swarm that is named is no invite, no file and none made on this machine', {
    hint: 'Give the invite, @FILE, - for stdin, or a name that petals swarm create was given'
  })
}

/** A model as invites name it. */
export function namedModel(model: Model, word: string): NamedModel {
  const base = word.split(/[/\\]/).at(-1) ?? word
  return { id: toHex(model.contentId), names: [model.config.name, word, base] }
}

function folderOf(swarmId: string, context: Surroundings): string {
  return join(context.paths.data, 'known-swarms', swarmId.slice(0, 32))
}

async function readInviteFile(path: string, context: Surroundings): Promise<Invite> {
  const bytes = await readPrivate(path, { maxBytes: MAX_INVITE_BYTES, strict: false })
  if (!bytes) throw notFound(`There is no invite in '${path}': no such file`)
  // Unattended machines get their secrets in files of others' making.
  const { mode } = await stat(path)
  if (isOpenMode(mode)) context.log.warn(`others on this machine may read the invite in '${path}'`)
  return parseInvite(bytes.toString('utf8').trim())
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false
  )
}
