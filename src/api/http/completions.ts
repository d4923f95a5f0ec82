// POST /v1/completions: text to the text that follows it, with echo and logprobs.
import { logProbOf, type DrawnLogProb } from '../../client/text/logits.ts'
import {
  answer,
  type AnswerEnd,
  type AnswerOptions,
  type AnswerPiece
} from '../../library/text/answer.ts'
import type { RouteNews } from '../../library/text/text-model.ts'
import { collect } from './chat-completions.ts'
import { checkLength, withinContext, type EndpointContext } from './chat-request.ts'
import { RequestError } from './errors.ts'
import type { Fields } from './fields.ts'
import { tokenText } from './log-prob-text.ts'
import { readResponseFormat } from './response-format.ts'
import { samplingOf } from './sampling.ts'
import { eventStream, type EventWriter } from './sse.ts'

/** What clients expect when they do not say. */
const DEFAULT_TOKENS = 16
const MOST_PROMPTS = 64
const MOST_TOP = 20

/** What of one prompt's text is certain, with what is known of its tokens. */
type OnText = (text: string, drawn: readonly DrawnLogProb[]) => void

interface Asked {
  readonly head: object
  readonly prompts: readonly (readonly number[])[]
  readonly echo: boolean
  /** Most probable tokens to tell beside each. */
  readonly top: number | undefined
  /** Options of one answer, made anew for each: what counts tokens counts those of one. */
  readonly options: () => AnswerOptions
}

export async function completions(fields: Fields, context: EndpointContext): Promise<Response> {
  const asked = readRequest(fields, context)
  if (fields.boolean('stream') !== true) return Response.json(await whole(asked, context))
  const withUsage = fields.object('stream_options')?.boolean('include_usage') === true
  return eventStream((writer) => streamed(asked, context, { writer, withUsage }), {
    abort: context.abort
  })
}

/** @throws RequestError */
function readRequest(fields: Fields, context: EndpointContext): Asked {
  const { model, created, abort, newId } = context
  fields.refuse('suffix', 'the model fills nothing in between')
  fields.integer('n', 1, 1)
  fields.integer('best_of', 1, 1)
  const top = fields.integer('logprobs', 0, MOST_TOP)
  const given = fields.has('max_tokens') || fields.has('max_completion_tokens')
  const constraint = readResponseFormat(fields)
  const compiled = constraint && model.constraints.compile(constraint)
  const sampling = (): AnswerOptions => {
    const options = samplingOf(fields, model.local.config)
    const held = compiled ? [compiled.processor()] : []
    return { ...options, processors: [...(options.processors ?? []), ...held] }
  }
  const options = (): AnswerOptions => ({
    ...sampling(),
    ...(given ? {} : { maxTokens: DEFAULT_TOKENS }),
    ...(top === undefined ? {} : { logProbs: top }),
    signal: abort.signal
  })
  // What cannot be used is told before the answer begins.
  options()
  return {
    head: { id: newId('cmpl'), object: 'text_completion', created, model: model.id },
    prompts: promptsOf(fields, context),
    echo: fields.boolean('echo') === true,
    top,
    options
  }
}

async function whole(asked: Asked, context: EndpointContext): Promise<object> {
  const made = await Promise.all(
    asked.prompts.map(async (_, index) => {
      let text = ''
      const all: DrawnLogProb[] = []
      const end = await complete(asked, index, context, (more, drawn) => {
        text += more
        all.push(...drawn)
      })
      const logprobs = logProbsOf(asked, all, 0, context)
      return { end, choice: { index, text, logprobs, finish_reason: end.finish } }
    })
  )
  const ends = made.map(({ end }) => end)
  const choices = made.map(({ choice }) => choice)
  return { ...asked.head, choices, usage: usageOfAll(ends), timings: ends.at(-1)?.times }
}

async function streamed(
  asked: Asked,
  context: EndpointContext,
  { writer, withUsage }: { writer: EventWriter; withUsage: boolean }
): Promise<void> {
  const ends = await Promise.all(
    asked.prompts.map(async (_, index) => {
      let length = 0
      const choice = (text: string, more: object): void =>
        writer.data({
          ...asked.head,
          choices: [{ index, text, logprobs: null, finish_reason: null, ...more }]
        })
      const ontext: OnText = (text, drawn) => {
        choice(text, { logprobs: logProbsOf(asked, drawn, length, context) })
        length += text.length
      }
      const onnews = (news: RouteNews): void => writer.news(news)
      const end = await complete(asked, index, context, ontext, onnews)
      choice('', { finish_reason: end.finish })
      return end
    })
  )
  if (withUsage) writer.data({ ...asked.head, choices: [], usage: usageOfAll(ends) })
}

async function complete(
  asked: Asked,
  index: number,
  context: EndpointContext,
  ontext: OnText,
  onnews?: (news: RouteNews) => void
): Promise<AnswerEnd> {
  const { model } = context
  const prompt = asked.prompts[index] ?? []
  if (asked.echo) {
    const text = model.local.tokenizer.decode(prompt)
    ontext(text, asked.top === undefined ? [] : await promptLogProbs(prompt, asked.top, context))
  }
  return collect(
    answer(model, prompt, { ...asked.options(), onnews }),
    ({ text, logProbs }: AnswerPiece) => ontext(text, logProbs)
  )
}

/** How probable each id of a prompt was behind those before it; of the first nothing is known. */
async function promptLogProbs(
  prompt: readonly number[],
  top: number,
  { model, abort }: EndpointContext
): Promise<DrawnLogProb[]> {
  await using borrowed = await model.borrow(prompt, { signal: abort.signal })
  const { generator } = borrowed
  const rows = await generator.logits(prompt, { rows: prompt.length, signal: abort.signal })
  return prompt.map((id, i) => {
    const logits = rows[i - 1]
    return logits ? logProbOf(logits, id, top) : { id, logprob: Number.NaN, top: [] }
  })
}

function logProbsOf(
  asked: Asked,
  drawn: readonly DrawnLogProb[],
  offset: number,
  { model }: EndpointContext
): object | null {
  if (asked.top === undefined) return null
  const { tokenizer } = model.local
  return legacyLogProbs(drawn, (id) => tokenText(tokenizer, id), offset)
}

/** Prompts differ here: each one's tokens count. */
function usageOfAll(ends: readonly AnswerEnd[]): object {
  const sum = (count: (end: AnswerEnd) => number): number =>
    ends.reduce((total, end) => total + count(end), 0)
  const prompt = sum((end) => end.promptTokens)
  const made = sum((end) => end.newTokens)
  return {
    prompt_tokens: prompt,
    completion_tokens: made,
    total_tokens: prompt + made,
    prompt_tokens_details: { cached_tokens: sum((end) => end.cachedTokens) }
  }
}

/** One text, several, one list of ids, or several. @throws RequestError */
function promptsOf(fields: Fields, { model }: EndpointContext): number[][] {
  const { tokenizer, config } = model.local
  const raw = fields.raw('prompt')
  const isIds = (value: unknown): value is number[] =>
    Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === 'number')
  const list: unknown[] = Array.isArray(raw) && !isIds(raw) ? raw : [raw]
  if (raw === undefined || list.length === 0 || list.length > MOST_PROMPTS) {
    throw new RequestError(`'prompt' must be a text, ids, or at most ${MOST_PROMPTS} of them`, {
      param: 'prompt'
    })
  }
  return list.map((entry) => {
    if (typeof entry === 'string') {
      const maxTokens = config.contextLength
      const ids = withinContext(() =>
        tokenizer.encode(entry, { addSpecial: true, parseSpecial: true, maxTokens })
      )
      checkLength(ids, config.contextLength)
      return ids
    }
    if (
      isIds(entry) &&
      entry.every((id) => Number.isInteger(id) && id >= 0 && id < config.vocabSize)
    ) {
      checkLength(entry, config.contextLength)
      return entry
    }
    throw new RequestError("'prompt' must be a text or ids of the model's vocabulary", {
      param: 'prompt'
    })
  })
}

/**
 * As lm-eval reads them: null for what nothing is known of.
 * @param offset where the first token begins in the text
 */
function legacyLogProbs(
  drawn: readonly DrawnLogProb[],
  textOf: (id: number) => string,
  offset: number
): object {
  const tokens = drawn.map(({ id }) => textOf(id))
  const known = (logprob: number): number | null => (Number.isNaN(logprob) ? null : logprob)
  let at = offset
  return {
    tokens,
    token_logprobs: drawn.map(({ logprob }) => known(logprob)),
    top_logprobs: drawn.map(({ logprob, top }) =>
      known(logprob) === null
        ? null
        : Object.fromEntries(top.map(({ id, logprob: value }) => [textOf(id), value]))
    ),
    text_offset: tokens.map((token) => {
      at += token.length
      return at - token.length
    })
  }
}
