// Records of a training file as examples: conversations, prompts with completions, or plain texts.
// All bad ones are told at once, by number. Knows no tokens and no files.
import { badInput } from '../../base/errors.ts'
import { jsonRecords } from './json-lines.ts'
import type { DataFile } from './record.ts'

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

/** Examples of lines of JSON. @throws as examplesOf() */
export function parseExamples(text: string, name: string): Example[] {
  return examplesOf({ unit: 'line', records: jsonRecords(text) }, name)
}

/** @throws AppError BAD_INPUT with every bad record's number and fault */
export function examplesOf({ records, unit }: DataFile, name: string): Example[] {
  const examples: Example[] = []
  const faults: string[] = []
  for (const { line, fields, fault } of records) {
    try {
      if (fields === undefined) throw new TypeError(fault ?? 'nothing')
      examples.push(exampleOf(fields, line))
    } catch (error) {
      faults.push(`${unit} ${line}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  if (faults.length > 0) {
    const more = faults.length - TOLD_FAULTS
    const told = faults.slice(0, TOLD_FAULTS).join('\n  ')
    throw badInput(
      `'${name}' cannot be trained on:\n  ${told}${more > 0 ? `\n  and ${more} more` : ''}`,
      {
        hint:
          `Each ${unit} has messages, prompt and completion, or text, as in ` +
          '{"messages": [{"role": "user", "content": "..."}, ...]}, ' +
          '{"prompt": "...", "completion": "..."} or {"text": "..."}'
      }
    )
  }
  if (examples.length === 0) throw badInput(`'${name}' cannot be trained on: it has no examples`)
  return examples
}

function exampleOf(fields: Readonly<Record<string, unknown>>, line: number): Example {
  if (isThere(fields['messages'])) {
    return { kind: 'messages', messages: messagesOf(fields['messages']), line }
  }
  if (isThere(fields['prompt']) || isThere(fields['completion'])) {
    const prompt = textOf(fields, 'prompt')
    const completion = textOf(fields, 'completion')
    if (completion === '') throw new TypeError('an empty completion')
    return { kind: 'completion', prompt, completion, line }
  }
  if (!isThere(fields['text'])) throw new TypeError("neither 'messages' nor 'prompt' nor 'text'")
  const whole = textOf(fields, 'text')
  if (whole === '') throw new TypeError('an empty text')
  return { kind: 'text', text: whole, line }
}

/** Tables have every field in every row. */
function isThere(value: unknown): boolean {
  return value !== undefined && value !== null
}

/** In a table they may be JSON in a text. */
function messagesOf(given: unknown): Message[] {
  const value = typeof given === 'string' ? jsonOf(given) : given
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

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new TypeError("'messages' is no JSON")
  }
}

function textOf(fields: Readonly<Record<string, unknown>>, key: string): string {
  const value = fields[key]
  if (typeof value !== 'string') throw new TypeError(`'${key}' is no text`)
  return value
}
