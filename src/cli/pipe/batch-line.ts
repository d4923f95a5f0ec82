// A line of a batch: what it asks. Knows no model.
import { badInput } from '../../base/errors.ts'
import type { ChatMessage } from '../../model/text/chat-template.ts'
import { type Fields, fillTemplate } from './prompt-template.ts'

export interface Asked {
  /** What the line calls itself; given back with its answer. */
  readonly id: string | number | undefined
  readonly messages: readonly ChatMessage[]
}

export interface BatchLineOptions {
  /** Of --prompt-template. */
  template?: string | undefined
  /** Of --system; a line's own instructions stand in its place. */
  system?: string | undefined
}

const HINT =
  'Give "a prompt", {"prompt": ...}, {"messages": [...]}, or fields for --prompt-template'

const ROLES: readonly string[] = ['system', 'user', 'assistant', 'tool']

/** The name of a line that may be none. */
export function idOf(line: string): string | number | undefined {
  try {
    const { id } = (JSON.parse(line) ?? {}) as Fields
    return typeof id === 'string' || typeof id === 'number' ? id : undefined
  } catch {
    return undefined
  }
}

/**
 * `"a prompt"`, `{"prompt": "..."}` or `{"messages": [...]}`; with a template, its fields.
 * @throws AppError BAD_INPUT
 */
export function parseBatchLine(line: string, options: BatchLineOptions = {}): Asked {
  const { template, system } = options
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    throw badInput('The line is no JSON', { hint: HINT })
  }
  const id = idOf(line)
  if (template !== undefined) {
    const fields = typeof value === 'string' ? { input: value } : fieldsIn(value)
    return { id, messages: asMessages(fillTemplate(template, fields), system) }
  }
  if (typeof value === 'string') return { id, messages: asMessages(value, system) }
  const { prompt, messages, system: own = system } = fieldsIn(value)
  if (own !== undefined && typeof own !== 'string') throw badInput("'system' is no text")
  if (typeof prompt === 'string') return { id, messages: asMessages(prompt, own) }
  if (Array.isArray(messages) && messages.length > 0) {
    const list = messages.map(asMessage)
    const isAlone = own === undefined || list[0]?.role === 'system'
    return { id, messages: isAlone ? list : [{ role: 'system', content: own }, ...list] }
  }
  throw badInput('The line asks nothing', { hint: HINT })
}

function fieldsIn(value: unknown): Fields {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields
  throw badInput('The line is neither a text nor an object', { hint: HINT })
}

function asMessages(prompt: string, system: string | undefined): ChatMessage[] {
  if (prompt.trim() === '') throw badInput('The prompt is empty')
  const user = { role: 'user', content: prompt }
  return system === undefined ? [user] : [{ role: 'system', content: system }, user]
}

function asMessage(value: unknown): ChatMessage {
  const { role, content } = (value ?? {}) as Fields
  if (typeof role === 'string' && typeof content === 'string') {
    if (ROLES.includes(role)) return { role, content }
    throw badInput(`A message's role cannot be '${role.slice(0, 40)}'`, {
      hint: `Give one of ${ROLES.join(', ')}`
    })
  }
  throw badInput('A message has no role, or a content that is no text')
}
