// Lines of a training file as examples: conversations, prompts with completions, or plain texts.
// All bad lines are told at once, by number. Knows no tokens.
import { badInput } from '../../base/errors.ts'

export interface Message {
  readonly role: string
  readonly content: string
}

export type Example =
  | { readonly kind: 'messages'; readonly messages: readonly Message[]; readonly line: number }
  | {
      readonly kind: 'completion'
      readonly prompt: string
      readonly completion: string
      readonly line: number
    }
  | { readonly kind: 'text'; readonly text: string; readonly line: number }

/** Faults that are told; of more only the number. */
const TOLD_FAULTS = 20
const MAX_MESSAGES = 10_000

/** @throws AppError BAD_INPUT with every bad line's number and fault */
export function parseExamples(text: string, name: string): Example[] {
  const examples: Example[] = []
  const faults: string[] = []
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue
    const number = index + 1
    try {
      examples.push(parseLine(line, number))
    } catch (error) {
      faults.push(`line ${number}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  if (faults.length > 0) {
    const more = faults.length - TOLD_FAULTS
    const told = faults.slice(0, TOLD_FAULTS).join('\n  ')
    throw badInput(
      `'${name}' cannot be trained on:\n  ${told}${more > 0 ? `\n  and ${more} more` : ''}`,
      {
        hint:
          'Each line is {"messages": [{"role": "user", "content": "..."}, ...]}, ' +
          '{"prompt": "...", "completion": "..."} or {"text": "..."}'
      }
    )
  }
  if (examples.length === 0) throw badInput(`'${name}' cannot be trained on: it has no examples`)
  return examples
}

function parseLine(text: string, line: number): Example {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new TypeError('no JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new TypeError('no JSON object')
  }
  const fields = value as Readonly<Record<string, unknown>>
  if ('messages' in fields) return { kind: 'messages', messages: messagesOf(fields.messages), line }
  if ('prompt' in fields || 'completion' in fields) {
    const prompt = textOf(fields, 'prompt')
    const completion = textOf(fields, 'completion')
    if (completion === '') throw new TypeError('an empty completion')
    return { kind: 'completion', prompt, completion, line }
  }
  if (!('text' in fields)) throw new TypeError("neither 'messages' nor 'prompt' nor 'text'")
  const whole = textOf(fields, 'text')
  if (whole === '') throw new TypeError('an empty text')
  return { kind: 'text', text: whole, line }
}

function messagesOf(value: unknown): Message[] {
  if (!Array.isArray(value) || value.length === 0) throw new TypeError("'messages' is no list")
  if (value.length > MAX_MESSAGES) throw new TypeError(`more than ${MAX_MESSAGES} messages`)
  const messages = value.map((one: unknown, index): Message => {
    if (typeof one !== 'object' || one === null)
      throw new TypeError(`message ${index + 1}: no object`)
    const fields = one as Readonly<Record<string, unknown>>
    return { role: textOf(fields, 'role'), content: textOf(fields, 'content') }
  })
  if (!messages.some(({ role }) => role === 'assistant')) {
    throw new TypeError("no message of the 'assistant' to learn")
  }
  return messages
}

function textOf(fields: Readonly<Record<string, unknown>>, key: string): string {
  const value = fields[key]
  if (typeof value !== 'string') throw new TypeError(`'${key}' is no text`)
  return value
}
