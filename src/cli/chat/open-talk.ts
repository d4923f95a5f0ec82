// Opens everything that a chat with one model needs, in order: model, engine, servers, session, and
// the earlier conversation.
import { badInput, toAppError } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Progress } from '../../base/progress.ts'
import { Client } from '../../client/client.ts'
import type { InferenceSession } from '../../client/session/session.ts'
import { Chat } from '../../client/text/chat.ts'
import { Generator } from '../../client/text/generate.ts'
import type { LocalBlocks } from '../../here/local-blocks.ts'
import type { Model } from '../../model/types.ts'
import type { SwarmNode } from '../../swarm/node.ts'
import type { Membership } from '../../swarm/private/membership.ts'
import type { Context } from '../context.ts'
import { openNamedModel, startCompute } from '../engine.ts'
import { manifestRoots, openWeights } from '../peer-weights.ts'
import { openHere, parseHere } from '../../library/open/here.ts'
import { namedModel } from '../../library/open/membership.ts'
import { headOf, wireOf, type ChatFlags } from './chat-flags.ts'
import { openDrafters } from './draft.ts'
import { loadServers } from './known-servers.ts'
import { prefixSecret, publishedSystem } from './prefix-flags.ts'
import { rememberModel } from './remember.ts'
import { loadChat, type SavedChat } from './saved-chat.ts'
import { schemaHolder, type SchemaHolder } from './schema-flag.ts'
import { waitLine } from './wait-line.ts'

export interface OpenTalkOptions {
  /** As typed. */
  name: string
  flags: ChatFlags
  context: Context
  node: SwarmNode
  membership: Membership | undefined
  progress: Progress
  /** The earlier conversation, with another model. Default: what --session saved. */
  past?: SavedChat | undefined
}

export interface OpenedTalk {
  readonly model: Model
  readonly client: Client
  /** What this process computes itself. */
  readonly here: LocalBlocks | undefined
  readonly session: InferenceSession
  readonly generator: Generator
  readonly chat: Chat
  /** What --session saved. */
  readonly saved: SavedChat | undefined
  /** Holds each answer to --schema. */
  readonly hold: SchemaHolder
}

/** @throws AppError; `stack` closes what was opened */
export async function openTalk(
  stack: AsyncDisposableStack,
  options: OpenTalkOptions
): Promise<OpenedTalk> {
  const { name, flags, context, node, membership, progress, past } = options
  const { log, signal } = context
  const { session: path, system } = flags
  const choice = parseHere(flags.here)
  progress.update(`opening ${name}`)
  const weights = openWeights(stack, node, flags, context)
  const model = await openNamedModel(name, context, {
    need: 'client',
    disk: flags.disk,
    chatTemplate: flags.chatTemplate,
    weights,
    roots: manifestRoots(flags)
  })
  const saved = past ?? (path === undefined ? undefined : await loadChat(path, model.contentId))
  if (flags.continue === true && !saved?.unfinished) {
    throw badInput(`There is no interrupted answer in '${path}'`, { hint: 'Ask something new' })
  }
  const hold = await schemaHolder(flags.schema, model)
  const named = namedModel(model, name)
  membership?.require('chat', named)
  const compute = stack.use(await startCompute(flags, context))
  const here = openHere(choice, { compute, model, name, log, signal, progress })
  if (here) stack.use(here)
  else {
    progress.update('looking for servers')
    await node.ready()
  }
  if (choice !== 'all') node.ready().catch((error: unknown) => tellWithoutSwarm(error, log))
  const client = stack.use(
    new Client({
      node,
      compute,
      here,
      model,
      aliases: named.names,
      dtype: wireOf(flags),
      headQuant: headOf(flags),
      prefix: await prefixSecret(flags, context),
      log,
      signal,
      onreroute: (peer, why) => log.debug(`server ${peer.slice(0, 8)} is avoided: ${why.message}`),
      onwait: waitLine()
    })
  )
  if (flags.prefixCache !== false) client.book.recall(await loadServers(context, model.contentId))
  await client.ready()
  await rememberModel(context, name)
  const published = publishedSystem(flags, client.local, node.key)
  const session = stack.use(await client.openSession(undefined, published))
  if (published?.make) log.info(`shared: give others --shared-by ${node.peer}`)
  const drafters = await openDrafters(stack, { name, flags, model, compute, context, weights })
  const generator = new Generator(client.local, session, { drafters })
  const chat = new Chat(client.local, generator, { system })
  if (saved) chat.resume(saved.messages, saved.unfinished)
  if (system !== undefined && !past) chat.setSystem(system)
  return { model, client, here, session, generator, chat, saved, hold }
}

/** The chat goes on with what is computed here. */
function tellWithoutSwarm(error: unknown, log: Log): void {
  const { code, message } = toAppError(error)
  if (code === 'DENIED') log.warn(message)
  else if (code !== 'CLOSED') log.debug(message)
}
