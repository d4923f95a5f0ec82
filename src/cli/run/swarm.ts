// `petals swarm create|list|invite|narrow|show|members|revoke`: private swarms and what members may
// do in them. stdout carries only invites and lists; an invite is printed only if it is asked for.
import { systemClock } from '../../base/clock.ts'
import { badInput } from '../../base/errors.ts'
import { silentLog } from '../../base/log.ts'
import { ACTS, type Caveats } from '../../swarm/private/invite-codec.ts'
import { inviteText, narrowInvite, type Invite } from '../../swarm/private/invite.ts'
import { publishRevocations } from '../../swarm/private/revocation-feed.ts'
import type { Context } from '../context.ts'
import { openNode } from '../../library/open/node.ts'
import {
  membersReport,
  membersTable,
  showText,
  swarmReport,
  swarmsTable
} from '../swarm/swarm-text.ts'
import { parseExpiry, parseList, parseWhole } from '../options.ts'
import { print } from '../output.ts'
import {
  createOwnSwarm,
  idsNamed,
  inviteTo,
  listOwnSwarms,
  readOwnSwarm,
  revocationsOf,
  revokeIn,
  writeOwnSwarm
} from '../../library/open/own-swarms.ts'
import { writePrivate } from '../../library/open/private-file.ts'
import { findInvite, openMembership } from '../../library/open/membership.ts'

export interface SwarmCommandFlags {
  bootstrap?: string | undefined
  may?: string | undefined
  models?: string | undefined
  tokensPerDay?: string | undefined
  sessions?: string | undefined
  expires?: string | undefined
  label?: string | undefined
  out?: string | undefined
  json?: boolean | undefined
  lan?: boolean | undefined
}

export async function runSwarm(
  words: readonly string[],
  flags: SwarmCommandFlags,
  context: Context
): Promise<void> {
  const [action, first, ...rest] = words
  const name = first ?? ''
  const extra = action === 'revoke' ? [] : rest
  if (extra.length > 0) throw badInput(`There are too many words: '${extra[0]}'`)
  switch (action) {
    case 'create':
      return create(name, context)
    case 'invite':
      return invite(name, flags, context)
    case 'narrow':
      return narrow(name, flags, context)
    case 'show':
      return show(name, context)
    case 'list':
      return list(name, flags, context)
    case 'members':
      return members(name, flags, context)
    case 'revoke':
      return revoke(name, rest, flags, context)
    default:
      throw badInput(
        action === undefined
          ? 'petals swarm needs to be told what to do'
          : `'petals swarm ${action}' is no command`,
        { hint: 'Use create, list, invite, narrow, show, members or revoke' }
      )
  }
}

async function create(name: string, context: Context): Promise<void> {
  await createOwnSwarm(context.paths, name)
  context.log.info(`The swarm '${name}' is made; its root key stays in this machine's data folder`)
  context.log.info(`  serve in it:   petals join MODEL --swarm ${name}`)
  context.log.info(`  invite others: petals swarm invite ${name} --label alice`)
}

async function invite(name: string, flags: SwarmCommandFlags, context: Context): Promise<void> {
  const caveats = readCaveats(flags)
  const before = await readOwnSwarm(context.paths, name)
  const { swarm, invite } = inviteTo(before, caveats, Math.floor(systemClock.wall()))
  await writeOwnSwarm(context.paths, swarm)
  await handOut(invite, flags)
}

async function narrow(given: string, flags: SwarmCommandFlags, context: Context): Promise<void> {
  const caveats = readCaveats(flags)
  if (given === '') throw badInput('There is no invite to narrow')
  const { invite } = await findInvite(given, context)
  await handOut(narrowInvite(invite, caveats), flags)
}

async function show(given: string, context: Context): Promise<void> {
  if (given === '') throw badInput('There is no invite to show')
  const { invite } = await findInvite(given, context)
  await print(showText(invite.capability, systemClock.wall()))
}

async function list(word: string, flags: SwarmCommandFlags, context: Context): Promise<void> {
  if (word !== '') throw badInput(`There are too many words: '${word}'`)
  const swarms = await listOwnSwarms(context.paths)
  const now = systemClock.wall()
  const text =
    flags.json === true
      ? `${JSON.stringify({ swarms: swarms.map((one) => swarmReport(one, now)) }, undefined, 2)}\n`
      : swarmsTable(swarms, now)
  await print(text)
}

async function members(name: string, flags: SwarmCommandFlags, context: Context): Promise<void> {
  const swarm = await readOwnSwarm(context.paths, name)
  const now = systemClock.wall()
  const text =
    flags.json === true
      ? `${JSON.stringify(membersReport(swarm, now), undefined, 2)}\n`
      : membersTable(swarm, now)
  await print(text)
}

/** Without a label, publishes earlier revocations again. */
async function revoke(
  name: string,
  words: readonly string[],
  flags: SwarmCommandFlags,
  context: Context
): Promise<void> {
  const before = await readOwnSwarm(context.paths, name)
  const ids = words.flatMap((word) => idsNamed(before, word))
  const swarm = ids.length === 0 ? before : revokeIn(before, ids, Math.floor(systemClock.wall()))
  const list = revocationsOf(swarm)
  if (!list) throw badInput(`Nothing was revoked in '${name}' yet`)
  // Stored before it is published: this machine's nodes pass it on even if nobody answers now.
  if (swarm !== before) await writeOwnSwarm(context.paths, swarm)
  const membership = await openMembership({ swarm: name }, context)
  await using stack = new AsyncDisposableStack()
  const log = context.debug ? context.log : silentLog
  const node = await openNode(stack, { flags, context, membership, log })
  await node.ready()
  await publishRevocations(node.dht, swarm.root, list, systemClock)
  context.log.info(`${countOf(list.ids.size)} to '${name}' revoked; members hear within a minute`)
  context.log.info(`  at once, from its servers: petals status MODEL --swarm ${name}`)
}

async function handOut(invite: Invite, flags: SwarmCommandFlags): Promise<void> {
  const text = `${inviteText(invite)}\n`
  if (flags.out === undefined) await print(text)
  else await writePrivate(flags.out, text)
}

function readCaveats(flags: SwarmCommandFlags): Caveats {
  const may = parseList('may', flags.may).map((word) => {
    const act = ACTS.find((one) => one === word)
    if (!act)
      throw badInput(`--may cannot be '${word}'`, { hint: `Give some of ${ACTS.join(',')}` })
    return act
  })
  const models = parseList('models', flags.models)
  const tokensPerDay = parseWhole('tokens-per-day', flags.tokensPerDay, 1, 1e12)
  const sessions = parseWhole('sessions', flags.sessions, 1, 65_535)
  const expiresAt = parseExpiry('expires', flags.expires, systemClock.wall())
  return {
    ...(may.length > 0 ? { may } : {}),
    ...(models.length > 0 ? { models } : {}),
    ...(tokensPerDay === undefined ? {} : { tokensPerDay }),
    ...(sessions === undefined ? {} : { sessions }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(flags.label === undefined ? {} : { label: flags.label })
  }
}

function countOf(invites: number): string {
  return invites === 1 ? '1 invite' : `${invites} invites`
}
