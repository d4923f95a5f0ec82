// A chat as a conversation uses it: answers that are reported and saved, and the actions of its
// commands.
import { stat } from 'node:fs/promises'
import type { BlockSpan } from '../../base/block-span.ts'
import { badInput } from '../../base/errors.ts'
import { routeTexts } from '../../library/text/report.ts'
import type { ChatFlags } from './chat-flags.ts'
import { ChatKeeper } from './chat-keeper.ts'
import type { Answering, Talk } from '../conversation/converse.ts'
import type { OpenedTalk } from './open-talk.ts'
import { createReporter, stream, type Answer, type Reporter, type Write } from './reporter.ts'
import { loadChat, requireAdapters, saveChat, type SavedChat } from './saved-chat.ts'
import type { Settings } from '../conversation/settings.ts'

export interface TalkOptions {
  opened: OpenedTalk
  /** The model as typed. */
  name: string
  flags: ChatFlags
  settings: Settings
  /** Receives reports. */
  report: (text: string) => void
  /** Whether the answer is written to the terminal that reports go to. */
  isShared: boolean
  /** In a private swarm: strangers cannot read along. */
  isPrivate: boolean
}

/** A chat, and how its answers are written. */
export interface ToldTalk {
  readonly talk: Talk
  readonly reporter: Reporter
  ask(question: string, signal: AbortSignal): Answer
  goOn(signal: AbortSignal): Answer
  /** Writes an answer as it is generated, reports it and saves it. */
  tell(answer: Answer, write: Write): Promise<void>
}

export function createTalk(options: TalkOptions): ToldTalk {
  const { opened, name, flags, settings, isPrivate } = options
  const { model, conversation, constraint } = opened
  const { session: path } = flags
  const raw = flags.raw === true
  const { config, contentId } = model.local.model
  const { contextLength, blockCount } = config
  const reporter = createReporter(
    {
      stats: flags.stats === true,
      trace: flags.trace === true,
      contextLength,
      isShared: options.isShared,
      write: options.report
    },
    conversation
  )
  const kept = (): SavedChat => ({ ...conversation.save(), adapters: model.adapters })
  const keeper =
    path === undefined ? undefined : new ChatKeeper(() => saveChat(path, contentId, kept()))
  const tell = async (answer: Answer, write: Write): Promise<void> => {
    keeper?.note()
    try {
      await stream(answer, conversation, reporter, (text) => {
        keeper?.note()
        return write(text)
      })
    } finally {
      await keeper?.flush()
    }
  }
  const ask = (question: string, signal: AbortSignal, more = {}): Answer =>
    conversation.ask(question, { ...settings.request, raw, signal, constraint, ...more })
  const goOn = (signal: AbortSignal, more = {}): Answer =>
    conversation.goOn({ speculate: settings.request.speculate, signal, ...more })
  const talk: Talk = {
    model: name,
    async about() {
      const { servers, here, kept } = model.blocks
      const hops = routeTexts(conversation.route)
      const others = hops.length > 0 ? 0 : servers
      const isWhole = here.some(({ start, end }) => start === 0 && end === blockCount)
      const used = conversation.usedTokens
      return [
        isWhole && others === 0 && hops.length === 0
          ? `${name}: ${blockCount} blocks, which run here`
          : `${name}: ${blockCount} blocks, ${route(hops, others)}`,
        privacyText(kept, { blockCount, isWhole, isPrivate }),
        ...(used > 0 ? [`${used} of ${contextLength} tokens of the context are used`] : [])
      ]
    },
    ask: (question, { write, signal, onprompt }: Answering) =>
      tell(ask(question, signal, { onprompt }), write),
    unfinished: () => conversation.unfinished?.question,
    goOn: ({ write, signal, onprompt }) => tell(goOn(signal, { onprompt }), write),
    messages: () => conversation.messages,
    reset: () => conversation.reset(),
    undo: () => conversation.undo(),
    setSystem: (text) => conversation.setSystem(text),
    set: (key, value) => settings.set(key, value),
    settings: () => settings.lines(),
    async save(to) {
      await requireOurs(to, contentId)
      await saveChat(to, contentId, kept())
    },
    async load(from) {
      const found = await stat(from).catch(() => undefined)
      if (!found) throw badInput(`There is no conversation in '${from}': no such file`)
      const saved = await loadChat(from, contentId)
      requireAdapters(from, saved, model.adapters)
      conversation.reset()
      conversation.resume(saved)
    },
    async keep() {
      await keeper?.flush()
    }
  }
  return { talk, reporter, ask, goOn, tell }
}

/**
 * Who can work out what is typed.
 * @param kept blocks that run here and nowhere else
 */
function privacyText(
  kept: BlockSpan | undefined,
  at: { blockCount: number; isWhole: boolean; isPrivate: boolean }
): string {
  if (kept?.start === 0) {
    return kept.end === at.blockCount
      ? 'nothing that you type leaves this machine'
      : `servers get what comes out behind blocks 0:${kept.end}: it is hard to turn back into words`
  }
  const who = at.isPrivate ? 'members of your swarm' : 'servers'
  if (at.isWhole) return `${who} that take over can work out what you type; --here all lets none`
  return at.isPrivate
    ? 'a private swarm: its members can work out what you type'
    : 'servers can work out what you type: nothing private here'
}

/** The servers of the route, once there is one. */
function route(hops: readonly string[], known: number): string {
  if (hops.length > 0) return `computed by ${hops.join(', ')}`
  return known === 1 ? '1 server is known' : `${known} servers are known`
}

/** Refuses to overwrite a file that is no conversation. @throws AppError BAD_INPUT */
async function requireOurs(path: string, model: Uint8Array): Promise<void> {
  await loadChat(path, model).catch((cause: unknown) => {
    throw badInput(`'${path}' is not written over: it is no conversation with this model`, {
      hint: 'Name a new file',
      cause
    })
  })
}
