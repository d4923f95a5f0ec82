// Messages to the text that a chat model was trained on, by its own Jinja template. Knows no ids:
// chat-ids.ts encodes what comes out, with users' texts kept apart from special tokens.
import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja'
import { systemClock } from '../../base/clock.ts'
import { AppError, badInput, toAppError } from '../../base/errors.ts'
import type { Model } from '../types.ts'

export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant' | (string & {})
  readonly content: string
}

export interface ChatOptions {
  /** Ends with the words that an answer begins after. Default true. */
  addGenerationPrompt?: boolean
  /** The date that a template may ask for. Default: now. */
  date?: Date
}

/** A template is a program that came with a file; these keep it from taking the machine. */
const MAX_TEMPLATE_LENGTH = 2 ** 18 // real ones have under 20,000 characters
const MAX_RANGE = 100_000 // real ones count messages
const MAX_MESSAGES = 10_000

/** @throws AppError BAD_INPUT when there is no template, or it refuses the messages. */
export function renderChat(
  model: Model,
  messages: readonly ChatMessage[],
  options: ChatOptions = {}
): string {
  const { addGenerationPrompt = true, date = new Date(systemClock.wall()) } = options
  const template = model.chatTemplate
  if (template === undefined || template === '') {
    throw badInput(`'${model.config.name}' cannot chat: it has no chat template`, {
      hint: 'Use --raw to give it the text as it is'
    })
  }
  if (template.length > MAX_TEMPLATE_LENGTH) {
    throw badInput(`The chat template cannot be used: it has ${template.length} characters`)
  }
  if (messages.length > MAX_MESSAGES) {
    throw badInput(
      `The chat cannot be rendered: ${messages.length} messages are over ${MAX_MESSAGES}`
    )
  }
  try {
    const environment = new Environment()
    const globals = {
      ...templateGlobals(date),
      ...specialTexts(model),
      messages: messages.map(({ role, content }) => ({ role, content })),
      add_generation_prompt: addGenerationPrompt
    }
    for (const [name, value] of Object.entries(globals)) environment.set(name, value)
    const program = parse(tokenize(template, { lstrip_blocks: true, trim_blocks: true }))
    return String(new Interpreter(environment).run(program).value)
  } catch (error) {
    if (error instanceof AppError) throw error
    throw badInput(`The chat template refuses these messages: ${toAppError(error).message}`, {
      hint: 'Use --raw to give the model the text as it is',
      cause: error
    })
  }
}

/**
 * What is to be fed for the last of `messages` when all before it are in the session already: from
 * right behind the last answer's text on, so with the end of its turn, which generation leaves to
 * us.
 * @returns undefined when the template writes what went before differently now: feed all of it
 * again
 */
export function chatTurns(
  model: Model,
  messages: readonly ChatMessage[],
  options: ChatOptions = {}
): string | undefined {
  const answerAt = messages.findLastIndex((message) => message.role === 'assistant')
  if (answerAt < 0) return undefined
  const answer = messages[answerAt]?.content ?? ''
  const fed = renderChat(model, messages.slice(0, answerAt), {
    ...options,
    addGenerationPrompt: true
  })
  const whole = renderChat(model, messages, options)
  return whole.startsWith(fed + answer) ? whole.slice(fed.length + answer.length) : undefined
}

/** Our own in place of the library's: its range() has no limit, and its clock is the system's. */
function templateGlobals(date: Date): Record<string, unknown> {
  return {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    raise_exception(message: unknown) {
      throw badInput(`The chat template refuses these messages: ${String(message)}`)
    },
    range: limitedRange,
    strftime_now: (format: string) => formatDate(date, format)
  }
}

function limitedRange(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second]
  const count = Math.max(0, Math.ceil((stop - start) / step))
  if (!(count <= MAX_RANGE)) throw badInput(`The chat template counts over ${MAX_RANGE}`)
  return Array.from({ length: count }, (_, i) => start + i * step)
}

/** The texts of BOS and EOS, which many templates write themselves. */
function specialTexts(model: Model): { bos_token: string; eos_token: string } {
  const { json, bosId, eosIds } = model.tokenizer
  const added = (json as { added_tokens?: { id: number; content: string }[] }).added_tokens ?? []
  const text = (id: number | undefined): string =>
    added.find((token) => token.id === id)?.content ?? ''
  return { bos_token: text(bosId), eos_token: text(eosIds[0]) }
}

const MONTHS: readonly string[] =
  'January,February,March,April,May,June,July,August,September,October,November,December'.split(',')

/** The parts of Python's strftime that templates use, in English everywhere. */
function formatDate(date: Date, format: string): string {
  const two = (value: number): string => String(value).padStart(2, '0')
  const month = MONTHS[date.getMonth()] ?? ''
  const parts: Record<string, string> = {
    '%Y': String(date.getFullYear()),
    '%m': two(date.getMonth() + 1),
    '%d': two(date.getDate()),
    '%b': month.slice(0, 3),
    '%B': month,
    '%H': two(date.getHours()),
    '%M': two(date.getMinutes()),
    '%S': two(date.getSeconds()),
    '%%': '%'
  }
  return format.replaceAll(/%[YmdbBHMS%]/g, (part) => parts[part] ?? part)
}
