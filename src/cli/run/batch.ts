// `petals chat MODEL --jsonl`: many prompts, a line each; answers in the same order. stdout or
// --out carries answers alone.
import { isatty } from 'node:tty'
import { badInput, toAppError, type AppError } from '../../base/errors.ts'
import { noProgress } from '../../base/progress.ts'
import type { Constraint } from '../../library/grammar/constraint.ts'
import { answer, type AnswerEnd } from '../../library/text/answer.ts'
import type { TextModel } from '../../library/text/text-model.ts'
import { Petals } from '../../library/petals.ts'
import { encodeChat } from '../../model/text/chat-ids.ts'
import { headOf, readRequest, wireOf, type ChatFlags } from '../chat/chat-flags.ts'
import { schemaConstraint } from '../chat/schema-flag.ts'
import { rememberModel } from '../chat/remember.ts'
import { lockSession } from '../chat/session-lock.ts'
import { stdinFacts } from '../chat/stdin.ts'
import type { Context } from '../context.ts'
import { petalsOptions } from '../engine.ts'
import { EXIT, exitCode } from '../exit.ts'
import { parseWhole } from '../options.ts'
import { createOutput } from '../output.ts'
import { answerRecord } from '../pipe/answer-record.ts'
import { type Asked, idOf, parseBatchLine } from '../pipe/batch-line.ts'
import { openBatchOut } from '../pipe/batch-out.ts'
import { codeOf } from '../pipe/extract.ts'
import { readTemplate } from '../pipe/prompt-template.ts'
import { inOrder } from '../pipe/in-order.ts'
import { openFileChunks, textLines, type TextLine } from '../pipe/text-lines.ts'

const PARALLEL = 4
/** Lines that may be begun behind a slow one, for each that is answered at once. */
const AHEAD = 4

interface Told {
  /** As it is written, without its newline. */
  readonly text: string
  readonly newTokens: number
  readonly isCut: boolean
  readonly failure: AppError | undefined
}

/** Returns the exit code. */
export async function runBatch(name: string, flags: ChatFlags, context: Context): Promise<number> {
  const { log, signal } = context
  const request = readRequest(flags)
  const parallel = parseWhole('parallel', flags.parallel, 1, 256) ?? PARALLEL
  const template = readTemplate(flags.promptTemplate)
  const constraint = await schemaConstraint(flags.schema)
  if (isatty(0)) {
    throw badInput('There are no lines: --jsonl reads them from stdin', {
      hint: `petals chat MODEL --jsonl < prompts.jsonl > answers.jsonl`
    })
  }
  await using stack = new AsyncDisposableStack()
  if (flags.out !== undefined) {
    stack.defer(await lockSession(flags.out, context.paths.data, `'${flags.out}'`))
  }
  const out = flags.out === undefined ? undefined : stack.use(openBatchOut(flags.out))
  const common = petalsOptions(flags)
  const { progress = noProgress } = common
  stack.defer(() => progress.done())
  const petals = stack.use(
    new Petals(context, {
      ...common,
      dtype: wireOf(flags),
      headQuant: headOf(flags),
      prefixCache: flags.prefixCache,
      parallel
    })
  )
  await petals.ready()
  const plain = stack.use(await petals.openModel(name))
  const { adapter = [] } = flags
  const model = adapter.length === 0 ? plain : stack.use(await plain.withAdapters(name, adapter))
  await rememberModel(context, name)
  progress.done()

  const output = createOutput()
  const stop = AbortSignal.any([signal, output.gone])
  const began = performance.now()
  const sums = { lines: 0, failed: 0, newTokens: 0, cut: 0 }
  let first: AppError | undefined
  const work = async (line: TextLine): Promise<Told> => {
    try {
      const asked = parseBatchLine(line.text, { template, system: flags.system })
      const said = await askTwice(model, asked, {
        ...request,
        raw: flags.raw,
        signal: stop,
        constraint
      })
      return told(line, asked, said, { name, model, extract: flags.extract === true })
    } catch (thrown) {
      const failure = toAppError(thrown)
      // Of the line itself: others can be answered.
      if (!OF_THE_LINE.has(failure.code)) throw failure
      const { code, message, hint } = failure
      const text = JSON.stringify({
        line: line.number,
        id: idOf(line.text),
        error: { code, message, hint }
      })
      return { text, newTokens: 0, isCut: false, failure }
    }
  }
  try {
    for await (const one of inOrder(linesAfter(out?.done ?? 0), {
      work,
      ahead: AHEAD * parallel
    })) {
      if (out) out.write(`${one.text}\n`)
      else await output.write(`${one.text}\n`)
      if (output.gone.aborted) break
      sums.lines++
      sums.newTokens += one.newTokens
      if (one.failure) sums.failed++
      if (one.isCut) sums.cut++
      first ??= one.failure
      progress.update(`${sums.lines} lines, ${sums.failed} failed, ${sums.newTokens} tokens`)
    }
    await output.end()
  } catch (error) {
    if (!output.gone.aborted) throw error
  }
  progress.done()
  if (output.failure) throw output.failure
  if (output.gone.aborted) return EXIT.brokenPipe
  if (flags.stats === true) {
    const seconds = (performance.now() - began) / 1000
    const rate = (sums.newTokens / seconds).toFixed(1)
    context.tell(
      `${sums.lines} lines, ${sums.failed} failed, ${sums.newTokens} tokens in ` +
        `${seconds.toFixed(1)} s, ${rate} tokens/s\n`
    )
  }
  if (first) log.warn(`${sums.failed} of ${sums.lines} lines failed; the first: ${first.message}`)
  if (first) return exitCode(first.code)
  return flags.strict === true && sums.cut > 0 ? EXIT.cut : EXIT.ok
}

/** What is wrong with what was asked; everything else is wrong with the swarm, and ends a batch. */
const OF_THE_LINE: ReadonlySet<AppError['code']> = new Set(['BAD_INPUT', 'LIMIT', 'UNSUPPORTED'])

async function* linesAfter(done: number): AsyncGenerator<TextLine, void> {
  // A file is read from where it stands: a loop of the shell may have taken lines of it.
  const chunks = stdinFacts().kind === 'file' ? openFileChunks(0) : process.stdin
  for await (const line of textLines(chunks)) if (line.number > done) yield line
}

type AskOptions = ReturnType<typeof readRequest> & {
  raw: boolean | undefined
  signal: AbortSignal
  /** What each answer is held to. */
  constraint: Constraint | undefined
}

/** Once more where the swarm failed in a way that may pass. */
async function askTwice(
  model: TextModel,
  asked: Asked,
  options: AskOptions
): Promise<{ text: string; end: AnswerEnd }> {
  try {
    return await ask(model, asked, options)
  } catch (error) {
    if (options.signal.aborted || !toAppError(error).retryable) throw error
    return await ask(model, asked, options)
  }
}

async function ask(
  model: TextModel,
  { messages }: Asked,
  { raw, signal, constraint, ...options }: AskOptions
): Promise<{ text: string; end: AnswerEnd }> {
  const { local } = model
  const { contextLength: maxTokens } = local.config
  const last = messages.at(-1)?.content ?? ''
  const prompt =
    raw === true
      ? local.tokenizer.encode(last, { addSpecial: true, parseSpecial: true, maxTokens })
      : encodeChat(local.model, local.tokenizer, messages)
  const processors = constraint ? [model.constraints.compile(constraint).processor()] : []
  const pieces = answer(model, prompt, { ...options, signal, processors })
  let text = ''
  for (;;) {
    const step = await pieces.next()
    if (step.done) return { text, end: step.value }
    text += step.value.text
  }
}

function told(
  line: TextLine,
  { id }: Asked,
  { text, end }: { text: string; end: AnswerEnd },
  of: { name: string; model: TextModel; extract: boolean }
): Told {
  const { promptTokens, cachedTokens, newTokens, times, route } = end
  const isFull = promptTokens + newTokens >= of.model.local.config.contextLength
  const finish = end.finish === 'length' && isFull ? 'context' : end.finish
  const record = answerRecord({
    model: of.name,
    text: of.extract ? (codeOf(text) ?? text) : text,
    finish,
    promptTokens,
    reusedTokens: cachedTokens,
    newTokens,
    firstTokenMs: times.prompt_ms,
    tokensPerSecond: times.predicted_per_second,
    route
  })
  return {
    text: JSON.stringify({ line: line.number, id, ...record }),
    newTokens,
    isCut: finish !== 'stop',
    failure: undefined
  }
}
