// Opens everything that a chat with one model needs: the model, and a conversation with what an
// earlier one left.
import { badInput } from '../../base/errors.ts'
import type { Constraint } from '../../library/grammar/constraint.ts'
import type { Petals } from '../../library/petals.ts'
import type { Conversation, SavedConversation } from '../../library/text/conversation.ts'
import type { RouteNews, TextModel } from '../../library/text/text-model.ts'
import { requireTemplate } from '../../model/text/chat-template.ts'
import type { Context } from '../context.ts'
import { draftOf, type ChatFlags } from './chat-flags.ts'
import { publishedSystem } from './prefix-flags.ts'
import { rememberModel } from './remember.ts'
import { loadChat, requireAdapters, type SavedChat } from './saved-chat.ts'
import { waitLine } from './wait-line.ts'

export interface OpenTalkOptions {
  /** As typed. */
  name: string
  flags: ChatFlags
  context: Context
  petals: Petals
  /** What answers are held to. */
  constraint: Constraint | undefined
  /** The earlier conversation, with another model. Default: what --session saved. */
  past?: SavedConversation | undefined
}

export interface OpenedTalk {
  readonly model: TextModel
  readonly conversation: Conversation
  readonly constraint: Constraint | undefined
  /** What --session saved. */
  readonly saved: SavedConversation | undefined
}

/** @throws AppError; `stack` closes what was opened */
export async function openTalk(
  stack: AsyncDisposableStack,
  options: OpenTalkOptions
): Promise<OpenedTalk> {
  const { name, flags, context, petals, past, constraint } = options
  const { session: path, system } = flags
  let saved: SavedChat | undefined = past
  const plain = stack.use(
    await petals.openModel(name, {
      async check(files) {
        const { contentId } = files
        if (flags.raw !== true && flags.continue !== true) requireTemplate(files)
        if (!past && path !== undefined) saved = await loadChat(path, contentId)
        if (flags.continue !== true || saved?.unfinished) return
        throw badInput(`There is no interrupted answer in '${path}'`, { hint: 'Ask something new' })
      }
    })
  )
  await rememberModel(context, name)
  const { adapter = [] } = flags
  const model = adapter.length === 0 ? plain : stack.use(await plain.withAdapters(name, adapter))
  if (!past && path !== undefined) requireAdapters(path, saved, model.adapters)
  const { node } = petals
  const published = publishedSystem(flags, model.local, node.key)
  const conversation = stack.use(
    await model.converse({
      system,
      resume: saved,
      published,
      draft: draftOf(flags),
      onnews: newsTeller(context)
    })
  )
  if (published?.make) context.log.info(`shared: give others --shared-by ${node.peer}`)
  if (system !== undefined && !past) conversation.setSystem(system)
  return { model, conversation, constraint, saved }
}

/** A line below the answer while it waits for servers. */
function newsTeller({ log }: Context): (news: RouteNews) => void {
  const line = waitLine()
  return ({ kind, text }) => {
    if (kind === 'reroute') log.debug(text)
    else line(kind === 'wait' ? text : undefined)
  }
}
