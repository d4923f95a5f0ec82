// `petals chat [MODEL] [PROMPT]`: a conversation on a terminal, or one answer through a pipe.
// stdout carries the answer and nothing else.
import { badInput, toAppError } from '../../base/errors.ts'
import { createProgress } from '../../base/progress.ts'
import { Chat } from '../../client/text/chat.ts'
import { Client } from '../../client/client.ts'
import {
  Generator,
  type GeneratedToken,
  type GenerationStats,
  type StepTimes
} from '../../client/text/generate.ts'
import { resolveSampling, samplingRange, type SamplingOptions } from '../../client/text/sampler.ts'
import type { InferenceSession } from '../../client/session/session.ts'
import type { WireDtype } from '../../wire/types.ts'
import { ChatKeeper } from '../chat/chat-keeper.ts'
import type { Context } from '../context.ts'
import { draftName, openDrafters } from '../chat/draft.ts'
import { openNamedModel, startCompute, type EngineOptions } from '../engine.ts'
import { EXIT } from '../exit.ts'
import { joinPrompt, readPiped } from '../chat/input.ts'
import { converse } from '../chat/interactive.ts'
import { loadServers, saveServers } from '../chat/known-servers.ts'
import { joinSoon, openNode } from '../open-node.ts'
import { parseChoice, parseNumber, parseWhole } from '../options.ts'
import { createOutput, type Output } from '../output.ts'
import {
  checkPrefixFlags,
  prefixSecret,
  publishedSystem,
  sharingIdentity,
  type PrefixFlags
} from '../chat/prefix-flags.ts'
import { rememberModel } from '../chat/remember.ts'
import { loadChat, requireKeepable, saveChat } from '../chat/saved-chat.ts'
import { manifestRoots, openWeights, type ManifestFlags, type PeerFlags } from '../peer-weights.ts'
import { namedModel, openMembership, type SwarmFlags } from '../swarm/swarm-access.ts'
import { promptLine, sharesOf, statsLine, traceLine, type StepShares } from '../chat/stats.ts'
import type { ChatTarget } from '../chat/target.ts'
import { terminalText } from '../../base/terminal-text.ts'
import { waitLine } from '../chat/wait-line.ts'

export interface ChatFlags
  extends Omit<EngineOptions, 'memory'>, SwarmFlags, PeerFlags, ManifestFlags, PrefixFlags {
  maxTokens?: string | undefined
  temperature?: string | undefined
  topP?: string | undefined
  topK?: string | undefined
  minP?: string | undefined
  repetitionPenalty?: string | undefined
  seed?: string | undefined
  stats?: boolean | undefined
  trace?: boolean | undefined
  wire?: string | undefined
  head?: string | undefined
  session?: string | undefined
  continue?: boolean | undefined
  speculate?: boolean | undefined
  draft?: string | undefined
}

interface Request extends SamplingOptions {
  maxTokens?: number
  speculate: boolean
}

/** Returns the exit code. */
export async function runChat(
  target: ChatTarget,
  flags: ChatFlags,
  context: Context
): Promise<number> {
  const request = readRequest(flags)
  draftName(flags)
  checkPrefixFlags(flags)
  const dtype = parseChoice<WireDtype>('wire', flags.wire, ['f32', 'f16', 'bf16', 'int8'])
  const headQuant = parseChoice('head', flags.head, ['native', 'f32'])
  const path = flags.session === undefined ? undefined : flags.session
  if (path !== undefined) await requireKeepable(path)
  const goesOn = flags.continue === true
  if (goesOn && (path === undefined || target.words !== undefined)) {
    throw badInput(
      '--continue goes on with the answer that --session FILE keeps, without a prompt',
      {
        hint: 'Give --session FILE, and no prompt'
      }
    )
  }
  // Before the prompt: both may come through stdin, and then the prompt is in words.
  const membership = await openMembership(flags, context)
  membership?.require('chat')
  const interactive = process.stdin.isTTY === true && target.words === undefined
  const prompt =
    interactive || goesOn
      ? undefined
      : joinPrompt({ words: target.words, piped: await readPiped(process.stdin) })
  const isBlank = prompt === undefined || (prompt.trim() === '' && flags.raw !== true)
  if (!interactive && !goesOn && isBlank) {
    throw badInput('There is no prompt', {
      hint: 'Give one as an argument, or through a pipe: echo "Why is the sky blue?" | petals chat MODEL'
    })
  }
  const progress = createProgress()
  progress.update(`opening ${target.model}`)
  await using stack = new AsyncDisposableStack()
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
  if (goesOn && !interactive && !saved?.unfinished) {
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
  const system = flags.system === undefined ? undefined : flags.system
  const chat = new Chat(client.local, generator, { system })
  if (saved) chat.resume(saved.messages, saved.unfinished)
  const keeper =
    path === undefined ? undefined : new ChatKeeper(() => saveChat(path, model.contentId, chat))
  const raw = flags.raw === true
  progress.done()
  const report = reporter(flags, session)
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
    return await answerOnce(begin, tell, context)
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

type Write = (text: string) => Promise<void>
type Answer = AsyncGenerator<GeneratedToken, GenerationStats>

async function answerOnce(
  begin: (signal: AbortSignal) => Answer,
  tell: (answer: Answer, write: Write) => Promise<void>,
  context: Context
): Promise<number> {
  const output = createOutput()
  const signal = AbortSignal.any([context.signal, output.gone])
  const shown = process.stdout.isTTY ? terminalText : (text: string) => text
  try {
    await tell(begin(signal), (text) => output.write(shown(text)))
    if (process.stdout.isTTY) await output.write('\n')
    await output.end()
    return output.gone.aborted ? leftBehind(output) : EXIT.ok
  } catch (error) {
    return endEarly(error, output)
  }
}

function endEarly(error: unknown, output: Output): number {
  if (output.gone.aborted) return leftBehind(output)
  throw toAppError(error)
}

/** A full disk is an error, a reader that has read enough is none. */
function leftBehind(output: Output): number {
  if (output.failure) throw output.failure
  return EXIT.brokenPipe
}

async function stream(
  answer: Answer,
  generator: Generator,
  report: Reporter,
  write: Write
): Promise<void> {
  for (;;) {
    const step = await answer.next()
    if (step.done) {
      report.done(step.value)
      return
    }
    report.token(generator.stats)
    await write(step.value.text)
  }
}

interface Reporter {
  token(stats: GenerationStats): void
  done(stats: GenerationStats): void
}

/** What --stats and --trace print on stderr. */
function reporter(flags: ChatFlags, session: InferenceSession): Reporter {
  let steps: StepShares[] = []
  let latest: StepTimes | undefined
  return {
    token(stats) {
      if (flags.trace === true && stats.newTokens === 1) {
        process.stderr.write(promptLine(stats.firstTokenMs, session))
      }
      // One trip may bring several tokens.
      const times = stats.steps.at(-1)
      if (flags.trace !== true || times === latest || !times) return
      latest = times
      steps.push(sharesOf(times, session))
    },
    done(stats) {
      if (flags.trace === true && steps.length > 0) process.stderr.write(traceLine(steps))
      if (flags.stats === true) {
        const separator = process.stdout.isTTY ? '\n' : ''
        process.stderr.write(separator + statsLine(stats, session.route, session.reroutes))
      }
      steps = []
    }
  }
}

type NumberKey = Exclude<keyof SamplingOptions, 'repetitionWindow'>

function readRequest(flags: ChatFlags): Request {
  const request: Request = { speculate: flags.speculate !== false }
  const maxTokens = parseWhole('max-tokens', flags.maxTokens, 1, 10_000_000)
  if (maxTokens !== undefined) request.maxTokens = maxTokens
  const read = (key: NumberKey, name: string): number | undefined =>
    parseNumber(name, flags[key], samplingRange(key))
  const numbers = {
    temperature: read('temperature', 'temperature'),
    topP: read('topP', 'top-p'),
    topK: read('topK', 'top-k'),
    minP: read('minP', 'min-p'),
    repetitionPenalty: read('repetitionPenalty', 'repetition-penalty'),
    seed: read('seed', 'seed')
  }
  for (const [name, value] of Object.entries(numbers)) {
    if (value !== undefined) Object.assign(request, { [name]: value })
  }
  resolveSampling(request)
  return request
}
