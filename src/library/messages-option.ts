// Conversations as programs give them to the library: checked, since types are not there at run
// time, and with contents as templates take them.
import { badInput } from '../base/errors.ts'
import type { ChatMessage } from '../model/text/chat-template.ts'

/** @throws AppError BAD_INPUT for what is no conversation, naming what is wrong */
export function messagesOption(value: unknown): readonly ChatMessage[] {
  if (!Array.isArray(value) || value.length === 0) {
    throw badInput("'messages' must be a list of at least one message", { hint: HINT })
  }
  return (value as unknown[]).map((entry, i) => {
    const message = (typeof entry === 'object' ? (entry ?? {}) : {}) as Record<string, unknown>
    const { role, tool_calls: calls } = message
    if (typeof role !== 'string') throw badInput(`'messages[${i}]' has no role`, { hint: HINT })
    const content = message['content'] ?? (Array.isArray(calls) ? '' : undefined)
    return { ...message, role, content: textOf(content, i) }
  })
}

const HINT = "Give { role: 'user', content: 'Hello' } and the like"

/** A text, or the texts of parts behind one another. */
function textOf(content: unknown, index: number): string {
  if (typeof content === 'string') return content
  const parts: unknown[] = Array.isArray(content) ? content : [undefined]
  const texts = parts.map((part) => {
    if (typeof part === 'string') return part
    const { type = 'text', text } = (part ?? {}) as Record<string, unknown>
    if (type === 'text' && typeof text === 'string') return text
    throw badInput(`'messages[${index}]' has a content that is no text`, { hint: HINT })
  })
  return texts.join('')
}
