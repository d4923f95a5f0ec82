// POST /v1/chat/completions: messages to answers, whole or as a stream of chunks.
import { encodeChat } from '../../model/text/chat-ids.ts'
import {
  answer,
  type AnswerEnd,
  type AnswerOptions,
  type AnswerPiece
} from '../../library/text/answer.ts'
import type { RouteNews, TextModel } from '../../library/text/text-model.ts'
import { RequestError } from './errors.ts'
import type { Fields } from './fields.ts'
import { logProbContent } from './log-prob-text.ts'
import { readMessages } from './messages.ts'
import { samplingOf } from './sampling.ts'
import { eventStream, type EventWriter } from './sse.ts'

export interface EndpointContext {
  readonly model: TextModel
  /** Wall clock, seconds. */
  readonly created: number
  readonly abort: AbortController
  /** A fresh id with this prefix. */
  readonly newId: (prefix: string) => string
}

const MOST_CHOICES = 8
const MOST_TOP = 20

interface Asked {
  readonly id: string
  readonly prompt: readonly number[]
  readonly choices: number
  /** Options of one choice, made anew for each: what counts tokens counts those of one. */
  readonly options: () => AnswerOptions
  readonly withLogProbs: boolean
}

export async function chatCompletions(fields: Fields, context: EndpointContext): Promise<Response> {
  const asked = await readRequest(fields, context)
  if (fields.boolean('stream') !== true) return Response.json(await whole(asked, context))
  const withUsage = fields.object('stream_options')?.boolean('include_usage') === true
  return eventStream((writer) => streamed(asked, context, { writer, withUsage }), {
    abort: context.abort
  })
}

/** @throws RequestError */
async function readRequest(fields: Fields, { model, newId }: EndpointContext): Promise<Asked> {
  fields.refuse('functions', "use 'tools'")
  fields.refuse('tools', 'this server calls no tools yet')
  fields.refuse('audio', 'only text is made')
  const format = fields.object('response_format')?.string('type') ?? 'text'
  if (format !== 'text') fields.refuse('response_format', 'answers are not constrained yet')
  const { local } = model
  const { contextLength } = local.config
  const prompt = encodeChat(local.model, local.tokenizer, readMessages(fields))
  checkLength(prompt, contextLength)
  const top = fields.integer('top_logprobs', 0, MOST_TOP) ?? 0
  const withLogProbs = fields.boolean('logprobs') === true
  const options = (): AnswerOptions => ({
    ...samplingOf(fields, local.config),
    ...(withLogProbs ? { logProbs: top } : {})
  })
  // What cannot be used is told before the answer begins.
  options()
  const choices = fields.integer('n', 1, MOST_CHOICES) ?? 1
  return { id: newId('chatcmpl'), prompt, choices, options, withLogProbs }
}

/** @throws RequestError context_length_exceeded, as clients know it */
export function checkLength(prompt: readonly number[], contextLength: number): void {
  if (prompt.length < contextLength) return
  throw new RequestError(
    `The prompt has ${prompt.length} tokens, the model's context is ${contextLength}`,
    {
      code: 'context_length_exceeded',
      param: 'messages',
      details: { n_prompt_tokens: prompt.length, n_ctx: contextLength }
    }
  )
}

/** Each choice draws with a seed of its own; the first with the one that was given. */
function choiceOptions(asked: Asked, index: number, signal: AbortSignal): AnswerOptions {
  const options = asked.options()
  const { seed } = options
  return { ...options, ...(seed === undefined ? {} : { seed: seed + index }), signal }
}

async function whole(asked: Asked, context: EndpointContext): Promise<object> {
  const { model, created, abort } = context
  const choices: object[] = []
  const ends: AnswerEnd[] = []
  for (let index = 0; index < asked.choices; index++) {
    const pieces: AnswerPiece[] = []
    const options = choiceOptions(asked, index, abort.signal)
    const end = await collect(answer(model, asked.prompt, options), (piece) => pieces.push(piece))
    ends.push(end)
    const drawn = pieces.flatMap((piece) => piece.logProbs)
    choices.push({
      index,
      message: {
        role: 'assistant',
        content: pieces.map(({ text }) => text).join(''),
        refusal: null
      },
      logprobs: logProbsOf(asked, drawn, context),
      finish_reason: end.finish
    })
  }
  const times = ends.at(-1)?.times
  return {
    id: asked.id,
    object: 'chat.completion',
    created,
    model: model.id,
    choices,
    usage: usageOf(ends),
    timings: times
  }
}

async function streamed(
  asked: Asked,
  context: EndpointContext,
  { writer, withUsage }: { writer: EventWriter; withUsage: boolean }
): Promise<void> {
  const { model, created, abort } = context
  const head = { id: asked.id, object: 'chat.completion.chunk', created, model: model.id }
  const usage = withUsage ? { usage: null } : {}
  const ends: AnswerEnd[] = []
  const choice = (index: number, delta: object, more: object = {}): void =>
    writer.data({
      ...head,
      choices: [{ index, delta, logprobs: null, finish_reason: null, ...more }],
      ...usage
    })
  for (let index = 0; index < asked.choices; index++) {
    choice(index, { role: 'assistant', content: '' })
    const onnews = ({ text }: RouteNews): void => writer.comment(text)
    const options = { ...choiceOptions(asked, index, abort.signal), onnews }
    const end = await collect(answer(model, asked.prompt, options), ({ text, logProbs }) =>
      choice(index, { content: text }, { logprobs: logProbsOf(asked, logProbs, context) })
    )
    ends.push(end)
    choice(index, {}, { finish_reason: end.finish })
  }
  if (!withUsage) return
  writer.data({ ...head, choices: [], usage: usageOf(ends), timings: ends.at(-1)?.times })
}

/** Hands out pieces as they come; what the generator returns. */
export async function collect(
  pieces: AsyncGenerator<AnswerPiece, AnswerEnd>,
  onpiece: (piece: AnswerPiece) => void
): Promise<AnswerEnd> {
  for (;;) {
    const step = await pieces.next()
    if (step.done) return step.value
    onpiece(step.value)
  }
}

function logProbsOf(
  asked: Asked,
  drawn: AnswerPiece['logProbs'],
  { model }: EndpointContext
): object | null {
  if (!asked.withLogProbs) return null
  return { content: logProbContent(drawn, model.local.tokenizer) }
}

/** Tokens of all choices; the prompt counts once. */
export function usageOf(ends: readonly AnswerEnd[]): object {
  const [first] = ends
  const prompt = first?.promptTokens ?? 0
  const made = ends.reduce((sum, { newTokens }) => sum + newTokens, 0)
  return {
    prompt_tokens: prompt,
    completion_tokens: made,
    total_tokens: prompt + made,
    prompt_tokens_details: { cached_tokens: first?.cachedTokens ?? 0 }
  }
}
