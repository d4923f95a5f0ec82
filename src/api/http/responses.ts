// POST /v1/responses: OpenAI's newer interface, without anything kept between requests; Codex CLI
// and the AI SDK speak it.
import { lookUp } from '../../base/look-up.ts'
import type { ChatMessage } from '../../model/text/chat-template.ts'
import type { ReplyEnd } from '../../library/text/reply.ts'
import { chatRequest, type ChatRequest } from './chat-request.ts'
import type { Endpoint, EndpointContext, RequestContext } from './endpoint.ts'
import { errorAnswer, RequestError } from './errors.ts'
import { asObject, Fields } from './fields.ts'
import { mergeNeighbours, textOf } from './messages.ts'
import { replyBlocks, type Block, type BlockListener } from './reply-blocks.ts'
import { readResponseFormat } from './response-format.ts'
import { samplingOf } from './sampling.ts'
import type { EventWriter } from './sse.ts'
import { readChoice, readTool, type ToolUse } from './tools.ts'

const MOST_ITEMS = 10_000
const MOST_TOOLS = 256
const ROLES: Readonly<Record<string, string>> = {
  system: 'system',
  developer: 'system',
  user: 'user',
  assistant: 'assistant'
}

export function responses(fields: Fields, request: RequestContext): Endpoint {
  const head = responseHead(fields, request)
  return {
    last: '',
    onerror: (thrown, writer) => {
      const { message, code } = errorAnswer(thrown).body.error
      const response = { ...head, status: 'failed', error: { code, message } }
      writer.data({ type: 'response.failed', response }, 'response.failed')
    },
    prepare(context) {
      const asked = readRequest(fields, context)
      return {
        async whole() {
          const { blocks, end } = await replyBlocks(asked, context)
          return finished(head, blocks, end)
        },
        streamed: (writer) => streamed(asked, context, { writer, head })
      }
    }
  }
}

/** @throws RequestError */
function readRequest(fields: Fields, context: EndpointContext): ChatRequest {
  fields.refuse('previous_response_id', 'nothing is kept here: send the whole input')
  fields.refuse('conversation', 'nothing is kept here: send the whole input')
  fields.refuse('prompt', 'no prompts are kept here')
  if (fields.boolean('background') === true) fields.refuse('background', 'nothing is kept here')
  const { local } = context.model
  const effort = fields.object('reasoning')?.string('effort')
  const most = fields.integer('max_output_tokens', 1, 2 ** 31)
  return chatRequest(
    {
      messages: readInput(fields),
      use: readTools(fields),
      constraint: readResponseFormat(fields),
      ...(effort === undefined ? {} : { variables: { reasoning_effort: effort } }),
      options: () => ({
        ...samplingOf(fields, local.config),
        ...(most === undefined ? {} : { maxTokens: most })
      })
    },
    context
  )
}

/** Tools of other kinds come with every request of some clients, and are passed over. */
function readTools(fields: Fields): ToolUse {
  const tools = fields.array('tools', MOST_TOOLS).flatMap((entry, i) => {
    const param = `tools[${i}]`
    const given = new Fields(asObject(entry, param), `${param}.`)
    return given.string('type') === 'function' ? [readTool(given, 'parameters', param)] : []
  })
  const choice = fields.raw('tool_choice')
  return {
    tools,
    choice: tools.length === 0 ? 'auto' : readChoice(choice, tools),
    parallel: fields.boolean('parallel_tool_calls') ?? true
  }
}

/** @throws RequestError */
function readInput(fields: Fields): ChatMessage[] {
  const instructions = fields.string('instructions')
  const begin: ChatMessage[] =
    instructions === undefined ? [] : [{ role: 'system', content: instructions }]
  const raw = fields.raw('input')
  if (typeof raw === 'string') return [...begin, { role: 'user', content: raw }]
  const items = fields.array('input', MOST_ITEMS)
  if (items.length === 0) throw new RequestError("'input' is missing", { param: 'input' })
  const messages = items.flatMap((item, i) => readItem(item, `input[${i}]`))
  return mergeNeighbours(joinCalls([...begin, ...messages]))
}

function readItem(entry: unknown, param: string): ChatMessage[] {
  const item = new Fields(asObject(entry, param), `${param}.`)
  const type = item.string('type') ?? 'message'
  switch (type) {
    case 'message': {
      const role = lookUp(ROLES, item.string('role') ?? '')
      if (role === undefined) throw new RequestError(`'${param}.role' is unknown`, { param })
      return [{ role, content: textOf(item.raw('content'), `${param}.content`) }]
    }
    case 'function_call': {
      const name = item.string('name')
      if (name === undefined) throw new RequestError(`'${param}.name' is missing`, { param })
      const id = item.string('call_id')
      const call = { name, arguments: item.string('arguments') ?? '{}' }
      return [
        {
          role: 'assistant',
          content: '',
          tool_calls: [{ type: 'function', ...(id === undefined ? {} : { id }), function: call }]
        }
      ]
    }
    case 'function_call_output': {
      const id = item.string('call_id')
      return [
        {
          role: 'tool',
          content: textOf(item.raw('output'), `${param}.output`),
          ...(id === undefined ? {} : { tool_call_id: id })
        }
      ]
    }
    default:
      // What other servers' tools left, and thoughts, which are of no use to another model.
      return []
  }
}

/** Calls of one answer come as items of their own: they belong to one message. */
function joinCalls(messages: readonly ChatMessage[]): ChatMessage[] {
  const joined: ChatMessage[] = []
  for (const message of messages) {
    const last = joined.at(-1)
    if (message.tool_calls && last?.role === 'assistant') {
      const calls = [...(last.tool_calls ?? []), ...message.tool_calls]
      joined[joined.length - 1] = { ...last, tool_calls: calls }
    } else {
      joined.push(message)
    }
  }
  return joined
}

/** What every form of the response says. */
function responseHead(fields: Fields, { modelName, created, newId }: RequestContext): object {
  return {
    id: newId('resp'),
    object: 'response',
    created_at: created,
    model: modelName,
    status: 'in_progress',
    error: null,
    incomplete_details: null,
    instructions: fields.string('instructions') ?? null,
    max_output_tokens: fields.integer('max_output_tokens', 1, 2 ** 31) ?? null,
    metadata: fields.object('metadata')?.body ?? {},
    output: [],
    parallel_tool_calls: fields.boolean('parallel_tool_calls') ?? true,
    previous_response_id: null,
    reasoning: { effort: fields.object('reasoning')?.string('effort') ?? null, summary: null },
    store: false,
    temperature: fields.number('temperature', 0, 100) ?? 1,
    text: fields.object('text')?.body ?? { format: { type: 'text' } },
    tool_choice: fields.raw('tool_choice') ?? 'auto',
    tools: fields.array('tools', MOST_TOOLS),
    top_p: fields.number('top_p', 0, 1) ?? 1,
    truncation: 'disabled',
    usage: null
  }
}

function finished(head: object, blocks: readonly Block[], end: ReplyEnd): object {
  const isCut = end.finish === 'length'
  return {
    ...head,
    status: isCut ? 'incomplete' : 'completed',
    incomplete_details: isCut ? { reason: 'max_output_tokens' } : null,
    output: blocks.map((block) => itemOf(block, isCut ? 'incomplete' : 'completed')),
    usage: {
      input_tokens: end.promptTokens,
      input_tokens_details: { cached_tokens: end.cachedTokens },
      output_tokens: end.newTokens,
      output_tokens_details: { reasoning_tokens: end.reasoningTokens },
      total_tokens: end.promptTokens + end.newTokens
    }
  }
}

/** A block's own id, the same in all its events. */
function itemId(block: Block): string {
  return `${PREFIX[block.kind]}_${block.index}`
}

const PREFIX: Readonly<Record<Block['kind'], string>> = { text: 'msg', reasoning: 'rs', call: 'fc' }

function itemOf(block: Block, status: string): object {
  const id = itemId(block)
  switch (block.kind) {
    case 'text':
      return {
        id,
        type: 'message',
        role: 'assistant',
        status,
        content: status === 'in_progress' ? [] : [textPart(block.text)]
      }
    case 'reasoning':
      return {
        id,
        type: 'reasoning',
        summary: [],
        content: status === 'in_progress' ? [] : [{ type: 'reasoning_text', text: block.text }],
        status
      }
    case 'call':
      return {
        id,
        type: 'function_call',
        call_id: block.id,
        name: block.name,
        arguments: block.text,
        status
      }
    default:
      throw new TypeError('No such block')
  }
}

function textPart(text: string): object {
  return { type: 'output_text', text, annotations: [], logprobs: [] }
}

async function streamed(
  request: ChatRequest,
  context: EndpointContext,
  { writer, head }: { writer: EventWriter; head: object }
): Promise<void> {
  let sequence = 0
  const event = (type: string, more: object): void =>
    writer.data({ type, sequence_number: sequence++, ...more }, type)
  const at = (block: Block): object => ({ item_id: itemId(block), output_index: block.index })
  let isStarted = false
  const start = (): void => {
    if (isStarted) return
    isStarted = true
    event('response.created', { response: head })
    event('response.in_progress', { response: head })
  }
  // Again and again, so without what is large.
  const brief = { ...head, tools: [], instructions: null }
  writer.inSilence(() => (isStarted ? event('response.in_progress', { response: brief }) : start()))
  const listener: BlockListener = {
    started: start,
    began(block) {
      const item = itemOf(block, 'in_progress')
      event('response.output_item.added', { output_index: block.index, item })
      if (block.kind === 'text') {
        const part = textPart('')
        event('response.content_part.added', { ...at(block), content_index: 0, part })
      }
    },
    grew(block, delta) {
      switch (block.kind) {
        case 'text':
          event('response.output_text.delta', {
            ...at(block),
            content_index: 0,
            delta,
            logprobs: []
          })
          break
        case 'reasoning':
          event('response.reasoning_text.delta', { ...at(block), content_index: 0, delta })
          break
        default:
          event('response.function_call_arguments.delta', { ...at(block), delta })
      }
    },
    ended(block) {
      const { text } = block
      switch (block.kind) {
        case 'text': {
          const part = textPart(text)
          event('response.output_text.done', { ...at(block), content_index: 0, text, logprobs: [] })
          event('response.content_part.done', { ...at(block), content_index: 0, part })
          break
        }
        case 'reasoning':
          event('response.reasoning_text.done', { ...at(block), content_index: 0, text })
          break
        default:
          event('response.function_call_arguments.done', { ...at(block), arguments: text })
      }
      const item = itemOf(block, 'completed')
      event('response.output_item.done', { output_index: block.index, item })
    }
  }
  const { blocks, end } = await replyBlocks(request, context, {
    listener,
    onnews: (news) => writer.news(news)
  })
  const response = finished(head, blocks, end)
  event(end.finish === 'length' ? 'response.incomplete' : 'response.completed', { response })
}
