// `petals chat [MODEL] [PROMPT]`: a conversation on a terminal, or one answer through a pipe.
// stdout carries the answer and nothing else.
import { isatty } from 'node:tty'
import { toAppError } from '../../base/errors.ts'
import { answerOnce } from '../chat/answer-once.ts'
import { checkChatFlags, headOf, readRequest, wireOf, type ChatFlags } from '../chat/chat-flags.ts'
import { converse } from '../conversation/converse.ts'
import { openTalk, type OpenTalkOptions } from '../chat/open-talk.ts'
import { prefixSecret, sharingIdentity } from '../chat/prefix-flags.ts'
import { schemaConstraint } from '../chat/schema-flag.ts'
import { readPrompt } from '../chat/prompt.ts'
import { requireKeepable } from '../chat/saved-chat.ts'
import { lockSession } from '../chat/session-lock.ts'
import { Settings } from '../conversation/settings.ts'
import { answerRecord } from '../pipe/answer-record.ts'
import { codeOf } from '../pipe/extract.ts'
import { readTemplate } from '../pipe/prompt-template.ts'
import { createTalk } from '../chat/talk.ts'
import type { ChatTarget } from '../chat/target.ts'
import { openTerminal } from '../conversation/terminal.ts'
import type { Context } from '../context.ts'
import { petalsOptions } from '../engine.ts'
import { errorText, EXIT } from '../exit.ts'
import { Petals } from '../../library/petals.ts'
import type { SavedConversation } from '../../library/text/conversation.ts'
import { decodeRate } from '../../library/text/report.ts'

/** Returns the exit code. */
export async function runChat(
  target: ChatTarget,
  flags: ChatFlags,
  context: Context
): Promise<number> {
  const settings = new Settings(readRequest(flags))
  checkChatFlags(flags, target.words)
  if (flags.jsonl === true) {
    const { runBatch } = await import('./batch.ts')
    return await runBatch(target.model, flags, context)
  }
  const constraint = await schemaConstraint(flags.schema)
  const template = readTemplate(flags.promptTemplate)
  const { session: path } = flags
  const raw = flags.raw === true
  const goesOn = flags.continue === true
  await using stack = new AsyncDisposableStack()
  if (path !== undefined) {
    await requireKeepable(path)
    stack.defer(await lockSession(path, context.paths.data))
  }
  const identity = await sharingIdentity(stack, flags, context)
  const petals = stack.use(
    new Petals(context, {
      ...petalsOptions(flags),
      identity,
      dtype: wireOf(flags),
      headQuant: headOf(flags),
      prefixCache: await prefixSecret(flags, context)
    })
  )
  // Before the prompt: an invite may come through stdin too, and then the prompt is in words.
  await petals.ready()
  const { file: files = [], json, extract } = flags
  const isOnce = goesOn || target.words !== undefined || files.length > 0
  const isPiped = json === true || extract === true || template !== undefined
  const isTalk = isatty(0) && !isOnce && !isPiped
  if (target.near !== undefined) {
    context.log.warn(
      `'${target.words}' is taken for a prompt to ${target.model}; there is a model '${target.near}'`
    )
  }
  const prompt =
    isTalk || goesOn
      ? undefined
      : await readPrompt({ words: target.words, raw, files, template }, context)
  const opening = { name: target.model, flags, context, petals, constraint }
  if (isTalk) return await talkWith(opening, settings)
  const opened = await openTalk(stack, opening)
  if (prompt !== undefined && opened.saved?.unfinished) {
    context.log.warn(
      `the interrupted answer in '${path}' is forgotten: --continue goes on with one`
    )
  }
  if (raw && path !== undefined) {
    context.log.warn(`with --raw '${path}' keeps an answer that is interrupted, and no whole one`)
  }
  const { reporter, ask, goOn, tell } = createTalk({
    opened,
    name: target.model,
    flags,
    settings,
    report: context.tell,
    isShared: process.stdout.isTTY,
    isPrivate: petals.isPrivate
  })
  const begin = (signal: AbortSignal): ReturnType<typeof goOn> =>
    prompt === undefined ? goOn(signal) : ask(prompt, signal)
  const whole = (text: string): string => {
    const said = extract === true ? extracted(text, context) : text
    if (json !== true || !reporter.last) return said
    const { finish, promptTokens, reusedTokens, newTokens, firstTokenMs } = reporter.last
    const record = answerRecord({
      model: target.model,
      text: said,
      finish,
      promptTokens,
      reusedTokens,
      newTokens,
      firstTokenMs,
      tokensPerSecond: decodeRate(reporter.last),
      route: opened.conversation.route
    })
    return `${JSON.stringify(record)}\n`
  }
  const isWhole = json === true || extract === true
  const code = await answerOnce(begin, tell, context, isWhole ? whole : undefined)
  return code === EXIT.ok && flags.strict === true && reporter.cut !== undefined ? EXIT.cut : code
}

/** The answer's code; all of it when there is none, which is told. */
function extracted(text: string, context: Context): string {
  const code = codeOf(text)
  if (code === undefined) context.log.warn('the answer has no ``` block: all of it is given')
  return code ?? text
}

/** A conversation on a terminal, with one model after another; returns the exit code. */
async function talkWith(opening: OpenTalkOptions, settings: Settings): Promise<number> {
  const { flags, context, petals } = opening
  let { name } = opening
  let before: { name: string; past: SavedConversation } | undefined
  for (;;) {
    await using stack = new AsyncDisposableStack()
    try {
      const past = before?.past
      const opened = await openTalk(stack, { ...opening, name, past })
      await using terminal = await openTerminal(context)
      const { talk } = createTalk({
        opened,
        name,
        flags,
        settings,
        report: (text) => terminal.note(text),
        isShared: false,
        isPrivate: petals.isPrivate
      })
      const leaving = await converse({ talk, ...terminal.parts })
      if (leaving.kind === 'left') return EXIT.ok
      before = { name, past: { messages: opened.conversation.save().messages } }
      ;({ name } = leaving)
    } catch (thrown) {
      const error = toAppError(thrown)
      if (!before || before.name === name || error.code === 'CANCELLED') throw thrown
      process.stderr.write(errorText(error, { model: name }))
      ;({ name } = before)
    }
  }
}
