// POST /v1/messages and /v1/messages/count_tokens: Anthropic's interface, which Claude Code speaks.
import type { ChatMessage, ChatToolCall } from '../../model/text/chat-template.ts'
import type { ReplyEnd } from '../../library/text/reply.ts'
import { chatRequest, type ChatRequest } from './chat-request.ts'
import type { Endpoint, EndpointContext } from './endpoint.ts'
import { errorAnswer, RequestError } from './errors.ts'
import { asObject, Fields } from './fields.ts'
import { mergeNeighbours, textOf } from './messages.ts'
import { replyBlocks, type Block, type BlockListener } from './reply-blocks.ts'
import { readResponseFormat } from './response-format.ts'
import { samplingOf } from './sampling.ts'
import type { EventWriter } from './sse.ts'
import { readChoice, readTool, type ToolUse } from './tools.ts'

const MOST_MESSAGES = 10_000
const MOST_BLOCKS = 1000
const MOST_TOOLS = 256
const MOST_STOPS = 16
/** Claude Code begins with a line that differs each time, so that no server could keep the rest. */
const BILLING_LINE = /^x-anthropic-billing-header:[^\n]*\n*/

export function anthropicMessages(fields: Fields): Endpoint {
  return {
    last: '',
    onerror: (thrown, writer) => writer.data(anthropicError(thrown).body, 'error'),
    prepare(context) {
      const request = readRequest(fields, context)
      return {
        whole: () => whole(request, context),
        streamed: (writer) => streamed(request, context, writer)
      }
    }
  }
}

export function countTokens(fields: Fields, context: EndpointContext): object {
  return { input_tokens: readRequest(fields, context, true).prompt.length }
}

/** An error in the shape that Anthropic's clients read. */
export function anthropicError(thrown: unknown): { status: number; body: object } {
  const { status, body } = errorAnswer(thrown)
  const { message, type } = body.error
  const kind = type === 'server_error' ? (status === 503 ? 'overloaded_error' : 'api_error') : type
  return { status, body: { type: 'error', error: { type: kind, message } } }
}

/** @throws RequestError */
function readRequest(fields: Fields, context: EndpointContext, isCount = false): ChatRequest {
  const { local } = context.model
  const most = fields.integer('max_tokens', 1, 2 ** 31)
  if (most === undefined && !isCount) {
    throw new RequestError("'max_tokens' is missing", { param: 'max_tokens' })
  }
  const thinking = fields.object('thinking')?.string('type')
  const effort = fields.object('output_config')?.string('effort')
  const stop = fields.strings('stop_sequences', MOST_STOPS)
  return chatRequest(
    {
      messages: readMessages(fields),
      use: readTools(fields),
      constraint: readResponseFormat(fields),
      variables: {
        ...(thinking === undefined ? {} : { enable_thinking: thinking !== 'disabled' }),
        ...(effort === undefined ? {} : { reasoning_effort: effort })
      },
      options: () => ({ ...samplingOf(fields, local.config), stop })
    },
    context
  )
}

function readTools(fields: Fields): ToolUse {
  const tools = fields.array('tools', MOST_TOOLS).flatMap((entry, i) => {
    const param = `tools[${i}]`
    const given = new Fields(asObject(entry, param), `${param}.`)
    // Tools that Anthropic's own servers run come with every request of some clients.
    const type = given.string('type') ?? 'custom'
    return type === 'custom' ? [readTool(given, 'input_schema', param)] : []
  })
  const choice = fields.object('tool_choice')
  return {
    tools,
    choice: readChoice(choice?.body, tools),
    parallel: choice?.boolean('disable_parallel_tool_use') !== true
  }
}

/** @throws RequestError */
function readMessages(fields: Fields): ChatMessage[] {
  const system = systemOf(fields)
  const entries = fields.array('messages', MOST_MESSAGES)
  if (entries.length === 0) {
    throw new RequestError("'messages' must have at least one message", { param: 'messages' })
  }
  const messages = entries.flatMap((entry, i) => readMessage(entry, `messages[${i}]`))
  return mergeNeighbours(
    system === '' ? messages : [{ role: 'system', content: system }, ...messages]
  )
}

/** Its parts are texts of their own; one that differs each time is left out. */
function systemOf(fields: Fields): string {
  const raw = fields.raw('system')
  const parts = Array.isArray(raw) ? fields.array('system', MOST_BLOCKS) : [raw]
  return parts
    .map((part, i) => textOf(Array.isArray(raw) ? [part] : part, `system[${i}]`))
    .map((text) => text.replace(BILLING_LINE, ''))
    .filter((text) => text !== '')
    .join('\n')
}

/** Results of tools are messages of their own, before what else the message says. */
function readMessage(entry: unknown, param: string): ChatMessage[] {
  const message = new Fields(asObject(entry, param), `${param}.`)
  const role = message.string('role') ?? ''
  if (role !== 'user' && role !== 'assistant' && role !== 'system') {
    throw new RequestError(`'${param}.role' cannot be '${role}'`, { param: `${param}.role` })
  }
  const content = message.raw('content')
  if (!Array.isArray(content)) return [{ role, content: textOf(content, `${param}.content`) }]
  const results: ChatMessage[] = []
  const calls: ChatToolCall[] = []
  const texts: string[] = []
  const thoughts: string[] = []
  for (const [i, raw] of message.array('content', MOST_BLOCKS).entries()) {
    const at = `${param}.content[${i}]`
    const block = new Fields(asObject(raw, at), `${at}.`)
    switch (block.string('type')) {
      case 'text':
        texts.push(block.string('text') ?? '')
        break
      case 'thinking':
        thoughts.push(block.string('thinking') ?? '')
        break
      case 'redacted_thinking':
        break
      case 'tool_use':
        calls.push(callOf(block, at))
        break
      case 'tool_result':
        results.push(resultOf(block, at))
        break
      default:
        throw new RequestError(
          `'${at}' is of type '${block.string('type')}': only text can be read`,
          {
            code: 'unsupported_content',
            param: at
          }
        )
    }
  }
  if (texts.length === 0 && calls.length === 0 && results.length > 0) return results
  const said: ChatMessage = {
    role,
    content: texts.join(''),
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
    ...(thoughts.length > 0 ? { reasoning_content: thoughts.join('') } : {})
  }
  return [...results, said]
}

function callOf(block: Fields, param: string): ChatToolCall {
  const name = block.string('name')
  if (name === undefined) throw new RequestError(`'${param}.name' is missing`, { param })
  const id = block.string('id')
  return {
    type: 'function',
    ...(id === undefined ? {} : { id }),
    function: { name, arguments: block.raw('input') ?? {} }
  }
}

function resultOf(block: Fields, param: string): ChatMessage {
  const id = block.string('tool_use_id')
  return {
    role: 'tool',
    content: textOf(block.raw('content'), `${param}.content`),
    ...(id === undefined ? {} : { tool_call_id: id })
  }
}

function stopReason({ finish, stop }: ReplyEnd): string {
  if (finish === 'tool_calls') return 'tool_use'
  if (finish === 'length') return 'max_tokens'
  return stop === undefined ? 'end_turn' : 'stop_sequence'
}

function usageOf(end: ReplyEnd): object {
  return {
    input_tokens: end.promptTokens - end.cachedTokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: end.cachedTokens,
    output_tokens: end.newTokens
  }
}

function contentOf(block: Block): object {
  switch (block.kind) {
    case 'text':
      return { type: 'text', text: block.text }
    case 'reasoning':
      return { type: 'thinking', thinking: block.text, signature: '' }
    case 'call':
      return { type: 'tool_use', id: block.id, name: block.name, input: parsed(block.text) }
    default:
      throw new TypeError('No such block')
  }
}

/** A call that was cut has no whole JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return {}
  }
}

async function whole(request: ChatRequest, context: EndpointContext): Promise<object> {
  const { blocks, end } = await replyBlocks(request, context)
  return {
    id: context.newId('msg'),
    type: 'message',
    role: 'assistant',
    model: context.model.id,
    content: blocks.map(contentOf),
    stop_reason: stopReason(end),
    stop_sequence: end.stop ?? null,
    usage: usageOf(end)
  }
}

async function streamed(
  request: ChatRequest,
  context: EndpointContext,
  writer: EventWriter
): Promise<void> {
  const event = (type: string, more: object): void => writer.data({ type, ...more }, type)
  const listener: BlockListener = {
    started: () =>
      event('message_start', {
        message: {
          id: context.newId('msg'),
          type: 'message',
          role: 'assistant',
          model: context.model.id,
          content: [],
          stop_reason: null,
          stop_sequence: null,
          usage: { input_tokens: request.prompt.length, output_tokens: 0 }
        }
      }),
    began: (block) =>
      event('content_block_start', {
        index: block.index,
        content_block: block.kind === 'call' ? { ...contentOf(block), input: {} } : contentOf(block)
      }),
    grew: ({ kind, index }, more) =>
      event('content_block_delta', { index, delta: deltaOf(kind, more) }),
    ended: ({ index }) => event('content_block_stop', { index })
  }
  writer.inSilence(() => event('ping', {}))
  const { end } = await replyBlocks(request, context, {
    listener,
    onnews: (news) => writer.news(news)
  })
  event('message_delta', {
    delta: { stop_reason: stopReason(end), stop_sequence: end.stop ?? null },
    usage: usageOf(end)
  })
  event('message_stop', {})
}

function deltaOf(kind: Block['kind'], more: string): object {
  switch (kind) {
    case 'text':
      return { type: 'text_delta', text: more }
    case 'reasoning':
      return { type: 'thinking_delta', thinking: more }
    case 'call':
      return { type: 'input_json_delta', partial_json: more }
    default:
      throw new TypeError('No such block')
  }
}
