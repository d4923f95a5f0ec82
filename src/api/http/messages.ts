// Messages of a request as the chat template takes them. Knows no model.
import { lookUp } from '../../base/look-up.ts'
import type { ChatMessage, ChatToolCall } from '../../model/text/chat-template.ts'
import { RequestError } from './errors.ts'
import { asObject, Fields } from './fields.ts'

const ROLES: Readonly<Record<string, string>> = {
  system: 'system',
  developer: 'system',
  user: 'user',
  assistant: 'assistant',
  tool: 'tool',
  function: 'tool'
}
const MOST_MESSAGES = 10_000
const MOST_PARTS = 1000
const MOST_CALLS = 128

/** @throws RequestError */
export function readMessages(fields: Fields): ChatMessage[] {
  const entries = fields.array('messages', MOST_MESSAGES)
  if (entries.length === 0) {
    throw new RequestError("'messages' must have at least one message", { param: 'messages' })
  }
  return mergeNeighbours(entries.map((entry, i) => readMessage(entry, `messages[${i}]`)))
}

function readMessage(entry: unknown, param: string): ChatMessage {
  const message = new Fields(asObject(entry, param), `${param}.`)
  const given = message.string('role') ?? ''
  const role = lookUp(ROLES, given)
  if (role === undefined) {
    throw new RequestError(`'${param}.role' cannot be '${given}'`, { param: `${param}.role` })
  }
  const calls = message
    .array('tool_calls', MOST_CALLS)
    .map((call, i) => readCall(call, `${param}.tool_calls[${i}]`))
  const reasoning = message.string('reasoning_content') ?? message.string('reasoning')
  const callId = message.string('tool_call_id')
  const name = message.string('name')
  return {
    role,
    content: textOf(message.raw('content'), `${param}.content`),
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
    ...(reasoning === undefined ? {} : { reasoning_content: reasoning }),
    ...(callId === undefined ? {} : { tool_call_id: callId }),
    ...(name === undefined ? {} : { name })
  }
}

function readCall(entry: unknown, param: string): ChatToolCall {
  const call = new Fields(asObject(entry, param), `${param}.`)
  const given = call.object('function')
  const name = given?.string('name')
  if (given === undefined || name === undefined) {
    throw new RequestError(`'${param}.function.name' is missing`, { param })
  }
  const id = call.string('id')
  return {
    type: 'function',
    ...(id === undefined ? {} : { id }),
    function: { name, arguments: given.raw('arguments') ?? '{}' }
  }
}

/**
 * A string, or the texts of parts behind one another. What is no text is refused, never dropped.
 */
export function textOf(content: unknown, param: string): string {
  if (content === undefined || content === null) return ''
  if (typeof content === 'string') return content
  if (!Array.isArray(content) || content.length > MOST_PARTS) {
    throw new RequestError(`'${param}' must be a string or an array of parts`, { param })
  }
  return (content as unknown[])
    .map((entry, i) => {
      if (typeof entry === 'string') return entry
      const part = new Fields(asObject(entry, `${param}[${i}]`), `${param}[${i}].`)
      const type = part.string('type') ?? 'text'
      if (['text', 'input_text', 'output_text'].includes(type)) return part.string('text') ?? ''
      if (type === 'refusal') return part.string('refusal') ?? ''
      throw new RequestError(`'${param}[${i}]' is of type '${type}': only text can be read`, {
        code: 'unsupported_content',
        param: `${param}[${i}]`
      })
    })
    .join('')
}

/** Templates refuse two messages of one role behind each other: plain ones become one. */
export function mergeNeighbours(messages: readonly ChatMessage[]): ChatMessage[] {
  const merged: ChatMessage[] = []
  for (const message of messages) {
    const last = merged.at(-1)
    if (last && last.role === message.role && message.role !== 'tool' && !last.tool_calls) {
      const content = [last.content, message.content].filter((text) => text !== '').join('\n\n')
      merged[merged.length - 1] = { ...last, ...message, content }
    } else {
      merged.push(message)
    }
  }
  return merged
}
