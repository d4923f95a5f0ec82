// POST /v1/chat/completions: messages to answers, whole or as a stream of chunks.
import type { DrawnLogProb } from '../../client/text/logits.ts'
import { reply, type ReplyEnd, type ReplyEvent } from '../../library/text/reply.ts'
import { chatRequest } from './chat-request.ts'
import { choicesPerPrompt, preparedChoices, type ChoiceTeller } from './choices.ts'
import type { Endpoint, EndpointContext, Prepared } from './endpoint.ts'
import type { Fields } from './fields.ts'
import { logProbContent } from './log-prob-text.ts'
import { readMessages } from './messages.ts'
import { readResponseFormat } from './response-format.ts'
import { samplingOf } from './sampling.ts'
import { readTools } from './tools.ts'

const MOST_TOP = 20
const MOST_DOCUMENTS = 1000

export function chatCompletions(fields: Fields): Endpoint {
  return { prepare: (context) => prepare(fields, context) }
}

/** @throws RequestError */
function prepare(fields: Fields, context: EndpointContext): Prepared {
  fields.refuse('functions', "use 'tools'")
  fields.refuse('function_call', "use 'tool_choice'")
  fields.refuse('audio', 'only text is made')
  const { model } = context
  const { local } = model
  const top = fields.integer('top_logprobs', 0, MOST_TOP) ?? 0
  const withLogProbs = fields.boolean('logprobs') === true
  const effort = fields.string('reasoning_effort')
  const documents = fields.array('documents', MOST_DOCUMENTS) as readonly object[]
  const { prompt, options } = chatRequest(
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
  const logProbsOf = (drawn: readonly DrawnLogProb[]): object | null =>
    withLogProbs ? { content: logProbContent(drawn, local.tokenizer) } : null
  return preparedChoices<ReplyEvent, ReplyEnd>(
    {
      idPrefix: 'chatcmpl',
      object: 'chat.completion',
      chunkObject: 'chat.completion.chunk',
      prompts: 1,
      perPrompt: choicesPerPrompt(fields),
      make: ({ choice }, hooks) => reply(model, prompt, { ...options(choice), ...hooks }),
      teller: () => messageTeller(logProbsOf)
    },
    context,
    fields
  )
}

interface CallEntry {
  readonly id: string
  readonly type: 'function'
  readonly function: { readonly name: string; arguments: string }
}

/** Tells a reply's parts, and puts them together. */
function messageTeller(
  logProbsOf: (drawn: readonly DrawnLogProb[]) => object | null
): ChoiceTeller<ReplyEvent, ReplyEnd> {
  let text = ''
  let reasoning = ''
  const calls: CallEntry[] = []
  const drawn: DrawnLogProb[] = []
  const take = (event: ReplyEvent): object | undefined => {
    switch (event.type) {
      case 'text':
        text += event.text
        return { content: event.text }
      case 'reasoning':
        reasoning += event.text
        return reasoningFields(event.text)
      case 'tool-start': {
        const { index, id, name } = event
        const call: CallEntry = { id, type: 'function', function: { name, arguments: '' } }
        calls[index] = call
        return { tool_calls: [{ index, ...call, function: { ...call.function } }] }
      }
      case 'tool-arguments': {
        const call = calls[event.index]
        if (call) call.function.arguments += event.text
        return { tool_calls: [{ index: event.index, function: { arguments: event.text } }] }
      }
      case 'tool-end':
        return undefined
      default:
        throw new TypeError('No such part of a reply')
    }
  }
  return {
    opening: { delta: { role: 'assistant', content: '' } },
    part(event) {
      drawn.push(...event.logProbs)
      const delta = take(event)
      return delta && { delta, logprobs: logProbsOf(event.logProbs) }
    },
    closing: { delta: {} },
    whole: ({ finish }) => ({
      message: {
        role: 'assistant',
        content: calls.length > 0 && text.trim() === '' ? null : text,
        refusal: null,
        ...reasoningFields(reasoning),
        ...(calls.length > 0 ? { tool_calls: calls } : {})
      },
      logprobs: logProbsOf(drawn),
      finish_reason: finish
    })
  }
}

/** Under both names that clients read. */
function reasoningFields(text: string): object {
  return text === '' ? {} : { reasoning_content: text, reasoning: text }
}
