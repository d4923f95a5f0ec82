// `petals chat [MODEL] [PROMPT]`: a conversation on a terminal, or one answer through a pipe.
// stdout carries the answer and nothing else.
import { isatty } from 'node:tty'
import { badInput } from '../../base/errors.ts'
import { createProgress } from '../../base/progress.ts'
import { Client } from '../../client/client.ts'
import { Chat } from '../../client/text/chat.ts'
import { Generator } from '../../client/text/generate.ts'
import type { WireDtype } from '../../wire/types.ts'
import { answerOnce } from '../chat/answer-once.ts'
import { checkChatFlags, readRequest, type ChatFlags } from '../chat/chat-flags.ts'
import { ChatKeeper } from '../chat/chat-keeper.ts'
import { draftName, openDrafters } from '../chat/draft.ts'
import { converse } from '../chat/interactive.ts'
import { loadServers, saveServers } from '../chat/known-servers.ts'
import { prefixSecret, publishedSystem, sharingIdentity } from '../chat/prefix-flags.ts'
import { readPrompt } from '../chat/prompt.ts'
import { rememberModel } from '../chat/remember.ts'
import { createReporter, stream, type Answer, type Write } from '../chat/reporter.ts'
import { loadChat, requireKeepable, saveChat } from '../chat/saved-chat.ts'
import { lockSession } from '../chat/session-lock.ts'
import type { ChatTarget } from '../chat/target.ts'
import { waitLine } from '../chat/wait-line.ts'
import type { Context } from '../context.ts'
import { openNamedModel, startCompute } from '../engine.ts'
import { EXIT } from '../exit.ts'
import { joinSoon, openNode } from '../open-node.ts'
import { parseChoice } from '../options.ts'
import { manifestRoots, openWeights } from '../peer-weights.ts'
import { namedModel, openMembership } from '../swarm/swarm-access.ts'

/** Returns the exit code. */
export async function runChat(
  target: ChatTarget,
  flags: ChatFlags,
  context: Context
): Promise<number> {
  const request = readRequest(flags)
  draftName(flags)
  checkChatFlags(flags, target.words)
  const dtype = parseChoice<WireDtype>('wire', flags.wire, ['f32', 'f16', 'bf16', 'int8'])
  const headQuant = parseChoice('head', flags.head, ['native', 'f32'])
  const { session: path, system } = flags
  const raw = flags.raw === true
  const goesOn = flags.continue === true
  await using stack = new AsyncDisposableStack()
  if (path !== undefined) {
    await requireKeepable(path)
    stack.defer(await lockSession(path, context.paths.data))
  }
  // Before the prompt: both may come through stdin, and then the prompt is in words.
  const membership = await openMembership(flags, context)
  membership?.require('chat')
  const interactive = isatty(0) && target.words === undefined && !goesOn
  if (target.near !== undefined) {
    context.log.warn(
      `'${target.words}' is taken for a prompt to ${target.model}; there is a model '${target.near}'`
    )
  }
  const prompt =
    interactive || goesOn ? undefined : await readPrompt({ words: target.words, raw }, context)
  const progress = createProgress()
  progress.update(`opening ${target.model}`)
  const identity = await sharingIdentity(stack, flags, context)
  const node = await openNode(stack, { flags, context, membership, identity })
  joinSoon(node)
  const weights = openWeights(stack, node, flags, context)
  const model = await openNamedModel(target.model, context, {
    need: 'client',
    disk: flags.disk,
    weights,
    roots: manifestRoots(flags)
  })
  const saved = path === undefined ? undefined : await loadChat(path, model.contentId)
  if (goesOn && !saved?.unfinished) {
    throw badInput(`There is no interrupted answer in '${path}'`, { hint: 'Ask something new' })
  }
  if (prompt !== undefined && saved?.unfinished) {
    context.log.warn(
      `the interrupted answer in '${path}' is forgotten: --continue goes on with one`
    )
  }
  const named = namedModel(model, target.model)
  membership?.require('chat', named)
  progress.update('looking for servers')
  const [compute] = await Promise.all([startCompute(flags, context), node.ready()])
  stack.use(compute)
  const client = stack.use(
    new Client({
      node,
      compute,
      model,
      aliases: named.names,
      dtype,
      headQuant,
      prefix: await prefixSecret(flags, context),
      log: context.log,
      signal: context.signal,
      onreroute: (peer, why) =>
        context.log.debug(`server ${peer.slice(0, 8)} is gone round: ${why.message}`),
      onwait: waitLine()
    })
  )
  if (flags.prefixCache !== false) client.book.recall(await loadServers(context, model.contentId))
  await client.ready()
  await rememberModel(context, target.model)
  const published = publishedSystem(flags, client.local, node.key)
  const session = stack.use(await client.openSession(undefined, published))
  if (published?.make) context.log.info(`shared: give others --shared-by ${node.peer}`)
  const drafters = await openDrafters(stack, { flags, model, compute, context, weights })
  const generator = new Generator(client.local, session, { drafters })
  const chat = new Chat(client.local, generator, { system })
  if (saved) chat.resume(saved.messages, saved.unfinished)
  if (system !== undefined) chat.setSystem(system)
  const keeper =
    path === undefined ? undefined : new ChatKeeper(() => saveChat(path, model.contentId, chat))
  if (raw && path !== undefined) {
    context.log.warn(`with --raw '${path}' keeps an answer that is interrupted, and no whole one`)
  }
  progress.done()
  const report = createReporter(
    {
      stats: flags.stats === true,
      trace: flags.trace === true,
      contextLength: model.config.contextLength,
      isShared: process.stdout.isTTY,
      write: (text) => process.stderr.write(text)
    },
    session
  )
  const tell = async (answer: Answer, write: Write): Promise<void> => {
    keeper?.note()
    try {
      await stream(answer, generator, report, (text) => {
        keeper?.note()
        return write(text)
      })
    } finally {
      await keeper?.flush()
      if (flags.prefixCache !== false) {
        await saveServers(context, model.contentId, client.roundTrips(session.route))
      }
    }
  }
  const ask = (question: string, signal: AbortSignal): Answer =>
    chat.ask(question, { ...request, raw, signal })
  const goOn = (signal: AbortSignal): Answer => chat.goOn({ speculate: request.speculate, signal })
  if (!interactive) {
    const begin = prompt === undefined ? goOn : (signal: AbortSignal) => ask(prompt, signal)
    // Awaited here: what the stack holds is needed until then.
    const code = await answerOnce(begin, tell, context)
    return code === EXIT.ok && flags.strict === true && report.cut !== undefined ? EXIT.cut : code
  }
  await converse({
    input: process.stdin,
    output: process.stdout,
    reset: () => chat.reset(),
    signal: context.signal,
    unfinished: () => chat.unfinished?.question,
    answer: (question, write, signal) => tell(ask(question, signal), async (text) => write(text)),
    goOn: (write, signal) => tell(goOn(signal), async (text) => write(text))
  })
  return EXIT.ok
}
