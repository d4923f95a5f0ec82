// `petals up MODEL`: for a home. Serves blocks, answers programs and shows the page in one process,
// in a private swarm of its own that is made on first use.
import { join } from 'node:path'
import { systemClock } from '../../base/clock.ts'
import {
  createOwnSwarm,
  findOwnSwarm,
  inviteTo,
  writeOwnSwarm
} from '../../library/open/own-swarms.ts'
import { readPrivate, writePrivate } from '../../library/open/private-file.ts'
import { Petals } from '../../library/petals.ts'
import { inviteText } from '../../swarm/private/invite.ts'
import { badInput } from '../../base/errors.ts'
import { defaultModel } from '../chat/remember.ts'
import type { Context } from '../context.ts'
import { parseWhole } from '../options.ts'
import { serverProgress } from '../terminal/stderr.ts'
import { openSurface, requireKey } from './api.ts'
import { runJoin, type JoinFlags } from './join.ts'

export interface UpFlags extends JoinFlags {
  public?: boolean | undefined
  join?: string | undefined
  apiPort?: string | undefined
  apiHost?: string | undefined
  apiKey?: string | undefined
  cors?: string | undefined
  chatTemplate?: string | undefined
  adapter?: readonly string[] | undefined
}

/** The private swarm of this machine's user. */
const HOME = 'home'
const API_PORT = 8080
const MAX_INVITE_BYTES = 64 * 1024

export async function runUp(
  word: string | undefined,
  flags: UpFlags,
  context: Context
): Promise<void> {
  const { apiHost: host = '127.0.0.1', cors } = flags
  const port = parseWhole('api-port', flags.apiPort, 0, 65_535) ?? API_PORT
  const apiKey = await requireKey(flags.apiKey, host, context)
  const name = word ?? (await defaultModel(context))
  if (name === undefined) {
    throw badInput('No model is named', { hint: 'Name one: petals up smollm2-135m' })
  }
  const swarm = await swarmOf(flags, context)
  const isHome = swarm === HOME
  // At home, machines find each other on the local network.
  const meets = flags.bootstrap !== undefined || context.bootstrap.length > 0
  const lan = flags.lan ?? (swarm !== undefined && !meets)
  const own = { ...flags, swarm, lan }
  if (isHome) {
    const invite = await homeInvite(context)
    const words = flags.bootstrap === undefined ? '' : ` --bootstrap ${flags.bootstrap}`
    context.log.info(
      `another machine of yours joins with: petals up ${name} --join ${invite}${words}`
    )
  }
  await runJoin(name, own, context, async (stack, parts) => {
    const { chatTemplate } = flags
    const progress = serverProgress(context.log)
    const petals = stack.use(new Petals(context, { chatTemplate, progress }, parts))
    await petals.ready()
    await openSurface(stack, {
      petals,
      names: [name],
      flags: { bootstrap: flags.bootstrap, lan, cors, adapter: flags.adapter },
      apiKey,
      host,
      port,
      context
    })
  })
}

/** What --swarm would be; undefined: the open swarm. @throws AppError BAD_INPUT */
async function swarmOf(flags: UpFlags, context: Context): Promise<string | undefined> {
  const given = [flags.public, flags.join, flags.swarm].filter((one) => one !== undefined)
  if (given.length > 1) throw badInput('Give one of --public, --join and --swarm')
  if (flags.public) return undefined
  if (flags.join !== undefined) return flags.join
  const named = flags.swarm ?? context.env['PETALS_SWARM']
  if (named) return named
  if (!(await findOwnSwarm(context.paths, HOME))) {
    await createOwnSwarm(context.paths, HOME)
    context.log.info(`made the private swarm '${HOME}': only machines with an invite are in it`)
  }
  return HOME
}

/** One invite for all machines of the home, the same each time. */
async function homeInvite(context: Context): Promise<string> {
  const path = join(context.paths.data, 'home-invite')
  const kept = await readPrivate(path, { maxBytes: MAX_INVITE_BYTES })
  if (kept) return kept.toString('utf8').trim()
  const before = await findOwnSwarm(context.paths, HOME)
  if (!before) throw badInput(`The swarm '${HOME}' has gone`)
  const { swarm, invite } = inviteTo(before, { label: 'home' }, Math.floor(systemClock.wall()))
  await writeOwnSwarm(context.paths, swarm)
  await writePrivate(path, `${inviteText(invite)}\n`)
  return inviteText(invite)
}
