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
  | {
      readonly kind: 'label'
      readonly text: string
      /** The name of its class. */
      readonly label: string
      readonly line: number
    }

/** What is learnt: to go on with texts, or to tell classes of texts apart. */
export type TuneTask = 'text' | 'classification'

/** Faults that are told; of more only the number. */
const TOLD_FAULTS = 20
const MAX_MESSAGES = 10_000
const MAX_LABELS = 1000
const MAX_LABEL = 256

const HINTS: Readonly<Record<TuneTask, string>> = {
  text:
    'messages, prompt and completion, or text, as in {"messages": [{"role": "user", "content": ' +
    '"..."}, ...]}, {"prompt": "...", "completion": "..."} or {"text": "..."}',
  classification: 'text and label, as in {"text": "...", "label": "..."}'
}

/** Examples of lines of JSON. @throws as examplesOf() */
export function parseExamples(text: string, name: string): Example[] {
  return examplesOf({ unit: 'line', records: jsonRecords(text) }, name)
}

/** @throws AppError BAD_INPUT with every bad record's number and fault */
export function examplesOf(
  { records, unit }: DataFile,
  name: string,
  task: TuneTask = 'text'
): Example[] {
  const examples: Example[] = []
  const faults: string[] = []
  for (const { line, fields, fault } of records) {
    try {
      if (fields === undefined) throw new TypeError(fault ?? 'nothing')
      examples.push(task === 'text' ? exampleOf(fields, line) : labelledOf(fields, line))
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
        hint: `Each ${unit} has ${HINTS[task]}`
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

function labelledOf(fields: Readonly<Record<string, unknown>>, line: number): Example {
  const text = textOf(fields, 'text')
  const { label } = fields
  const isNumber = typeof label === 'number' || typeof label === 'bigint'
  const name = isNumber ? String(label) : textOf(fields, 'label').trim()
  if (name === '' || name.length > MAX_LABEL) throw new TypeError("no good 'label'")
  if (text === '') throw new TypeError('an empty text')
  return { kind: 'label', text, label: name, line }
}

/**
 * Names of the classes of examples: numbers by size, others by letters.
 * @throws AppError BAD_INPUT for less than two or too many
 */
export function labelsOf(examples: readonly Example[], name: string): string[] {
  const labels = [...new Set(examples.flatMap((one) => (one.kind === 'label' ? [one.label] : [])))]
  if (labels.length < 2 || labels.length > MAX_LABELS) {
    throw badInput(
      `'${name}' cannot be trained on: it has ${labels.length} classes, and 2 to ${MAX_LABELS} can ` +
        'be told apart'
    )
  }
  const isNumbers = labels.every((label) => /^-?\d+$/.test(label))
  return labels.toSorted((a, b) => (isNumbers ? Number(a) - Number(b) : a < b ? -1 : 1))
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
