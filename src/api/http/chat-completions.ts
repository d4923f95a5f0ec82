// POST /v1/chat/completions: messages to answers, whole or as a stream of chunks.
import type { DrawnLogProb } from '../../client/text/logits.ts'
import {
  reply,
  type ReplyEnd,
  type ReplyEvent,
  type ReplyOptions
} from '../../library/text/reply.ts'
import type { RouteNews } from '../../library/text/text-model.ts'
import { chatRequest, type EndpointContext } from './chat-request.ts'
import type { Fields } from './fields.ts'
import { logProbContent } from './log-prob-text.ts'
import { readMessages } from './messages.ts'
import { readResponseFormat } from './response-format.ts'
import { samplingOf } from './sampling.ts'
import { eventStream, type EventWriter } from './sse.ts'
import { readTools } from './tools.ts'

const MOST_CHOICES = 8
const MOST_TOP = 20
const MOST_DOCUMENTS = 1000

interface Asked {
  readonly id: string
  readonly prompt: readonly number[]
  readonly choices: number
  readonly options: () => ReplyOptions
  readonly withLogProbs: boolean
}

export async function chatCompletions(fields: Fields, context: EndpointContext): Promise<Response> {
  const asked = readRequest(fields, context)
  if (fields.boolean('stream') !== true) return Response.json(await whole(asked, context))
  const withUsage = fields.object('stream_options')?.boolean('include_usage') === true
  return eventStream((writer) => streamed(asked, context, { writer, withUsage }), {
    abort: context.abort
  })
}

/** @throws RequestError */
function readRequest(fields: Fields, context: EndpointContext): Asked {
  fields.refuse('functions', "use 'tools'")
  fields.refuse('function_call', "use 'tool_choice'")
  fields.refuse('audio', 'only text is made')
  const { local } = context.model
  const top = fields.integer('top_logprobs', 0, MOST_TOP) ?? 0
  const withLogProbs = fields.boolean('logprobs') === true
  const effort = fields.string('reasoning_effort')
  const documents = fields.array('documents', MOST_DOCUMENTS) as readonly object[]
  const request = chatRequest(
    {
      messages: readMessages(fields),
      use: readTools(fields),
      constraint: readResponseFormat(fields),
      variables: {
        ...(effort === undefined ? {} : { reasoning_effort: effort }),
        ...fields.object('chat_template_kwargs')?.body
      },
      ...(documents.length > 0 ? { documents } : {}),
      options: () => ({
        ...samplingOf(fields, local.config),
        ...(withLogProbs ? { logProbs: top } : {})
      })
    },
    context
  )
  const choices = fields.integer('n', 1, MOST_CHOICES) ?? 1
  return { id: context.newId('chatcmpl'), ...request, choices, withLogProbs }
}

/** Each choice draws with a seed of its own; the first with the one that was given. */
function choiceOptions(asked: Asked, index: number, signal: AbortSignal): ReplyOptions {
  const options = asked.options()
  const { seed } = options
  return { ...options, ...(seed === undefined ? {} : { seed: seed + index }), signal }
}

interface CallEntry {
  readonly id: string
  readonly type: 'function'
  readonly function: { readonly name: string; arguments: string }
}

/** The parts of a reply, put together. */
export class WholeReply {
  text = ''
  reasoning = ''
  readonly calls: CallEntry[] = []
  readonly drawn: DrawnLogProb[] = []

  take(event: ReplyEvent): void {
    this.drawn.push(...event.logProbs)
    switch (event.type) {
      case 'text':
        this.text += event.text
        break
      case 'reasoning':
        this.reasoning += event.text
        break
      case 'tool-start':
        this.calls[event.index] = {
          id: event.id,
          type: 'function',
          function: { name: event.name, arguments: '' }
        }
        break
      case 'tool-arguments': {
        const call = this.calls[event.index]
        if (call) call.function.arguments += event.text
        break
      }
      case 'tool-end':
        break
      default:
        throw new TypeError('No such part of a reply')
    }
  }
}

async function whole(asked: Asked, context: EndpointContext): Promise<object> {
  const { model, created, abort } = context
  const choices: object[] = []
  const ends: ReplyEnd[] = []
  for (let index = 0; index < asked.choices; index++) {
    const made = new WholeReply()
    const options = choiceOptions(asked, index, abort.signal)
    const end = await collect(reply(model, asked.prompt, options), (event) => made.take(event))
    ends.push(end)
    choices.push({
      index,
      message: {
        role: 'assistant',
        content: made.calls.length > 0 && made.text.trim() === '' ? null : made.text,
        refusal: null,
        ...reasoningFields(made.reasoning),
        ...(made.calls.length > 0 ? { tool_calls: made.calls } : {})
      },
      logprobs: logProbsOf(asked, made.drawn, context),
      finish_reason: end.finish
    })
  }
  return {
    id: asked.id,
    object: 'chat.completion',
    created,
    model: model.id,
    choices,
    usage: usageOf(ends),
    timings: ends.at(-1)?.times
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
  const ends: ReplyEnd[] = []
  const choice = (index: number, delta: object, more: object = {}): void =>
    writer.data({
      ...head,
      choices: [{ index, delta, logprobs: null, finish_reason: null, ...more }],
      ...usage
    })
  const onnews = (news: RouteNews): void => writer.news(news)
  for (let index = 0; index < asked.choices; index++) {
    choice(index, { role: 'assistant', content: '' })
    const options = { ...choiceOptions(asked, index, abort.signal), onnews }
    const end = await collect(reply(model, asked.prompt, options), (event) => {
      const delta = deltaOf(event)
      if (delta) choice(index, delta, { logprobs: logProbsOf(asked, event.logProbs, context) })
    })
    ends.push(end)
    choice(index, {}, { finish_reason: end.finish })
  }
  if (!withUsage) return
  writer.data({ ...head, choices: [], usage: usageOf(ends), timings: ends.at(-1)?.times })
}

function deltaOf(event: ReplyEvent): object | undefined {
  switch (event.type) {
    case 'text':
      return { content: event.text }
    case 'reasoning':
      return reasoningFields(event.text)
    case 'tool-start': {
      const { index, id, name } = event
      return { tool_calls: [{ index, id, type: 'function', function: { name, arguments: '' } }] }
    }
    case 'tool-arguments':
      return { tool_calls: [{ index: event.index, function: { arguments: event.text } }] }
    default:
      return undefined
  }
}

/** Under both names that clients read. */
function reasoningFields(text: string): object {
  return text === '' ? {} : { reasoning_content: text, reasoning: text }
}

/** Hands out what comes; what the generator returns. */
export async function collect<T, R>(
  items: AsyncGenerator<T, R>,
  onitem: (item: T) => void
): Promise<R> {
  for (;;) {
    const step = await items.next()
    if (step.done) return step.value
    onitem(step.value)
  }
}

function logProbsOf(
  asked: Asked,
  drawn: readonly DrawnLogProb[],
  { model }: EndpointContext
): object | null {
  if (!asked.withLogProbs) return null
  return { content: logProbContent(drawn, model.local.tokenizer) }
}

/** Tokens of all choices; the prompt counts once. */
export function usageOf(
  ends: readonly Pick<ReplyEnd, 'promptTokens' | 'cachedTokens' | 'newTokens'>[]
): object {
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
