// Messages to the text that a chat model was trained on, by its own Jinja template, as
// transformers' apply_chat_template does. Knows no ids: chat-ids.ts encodes what comes out, with
// users' texts kept apart from special tokens.
import { Environment, parse, tokenize } from '@huggingface/jinja'
import { systemClock } from '../../base/clock.ts'
import { AppError, badInput, toAppError } from '../../base/errors.ts'
import type { Model } from '../types.ts'
import type { ChatMessage, ChatToolCall } from './template/chat-message.ts'
import { runTemplate } from './template/template-budget.ts'
import { templateGlobals } from './template/template-globals.ts'
import { hasPlaceForTools, withToldTools } from './template/told-tools.ts'

export type { ChatMessage, ChatToolCall }

export interface ChatOptions {
  /** Whether it ends with the words that introduce an answer. Default true. */
  addGenerationPrompt?: boolean
  /** The date for templates that ask for it. Default: now. */
  date?: Date
  /** Descriptions of tools, as JSON has them: `{ type: 'function', function: { name, ... } }`. */
  tools?: readonly object[]
  /** Tells tools in words also where the template has a place for them. Default false. */
  toolsInWords?: boolean
  /** Texts to answer from, each `{ title, text }`. */
  documents?: readonly object[]
  /** Other names that a template may ask for, e.g. `enable_thinking`. */
  variables?: Readonly<Record<string, unknown>>
}

const AS_IT_IS = 'Ask for a completion, which gives the model a text as it is'
/**
 * A template is a program that comes with a file; these limits keep it from using up the machine.
 */
const MAX_TEMPLATE_LENGTH = 2 ** 17 // real ones have under 20,000 characters
const MAX_SPACES = 200 // in a row; the parser's time goes with the square
const MAX_MESSAGES = 10_000
/** Work and sizes that every template may use, and more for each character and message. */
const BASE_WORK = 2 ** 22 // real ones use under 100,000
const WORK_PER_CHARACTER = 256
const WORK_PER_MESSAGE = 2 ** 15
const BASE_SIZE = 2 ** 22
const SIZE_PER_CHARACTER = 8

/** The model's template. @throws AppError BAD_INPUT if it has none */
export function requireTemplate({ chatTemplate: template }: Pick<Model, 'chatTemplate'>): string {
  if (template !== undefined && template !== '') return template
  throw badInput('The model cannot chat: it has no chat template', {
    hint: 'Name one by --chat-template FILE|NAME, or use --raw to give it the text as it is',
    advice: AS_IT_IS
  })
}

/** @throws AppError BAD_INPUT if there is no template or it refuses the messages. */
export function renderChat(
  model: Pick<Model, 'chatTemplate' | 'config' | 'tokenizer'>,
  messages: readonly ChatMessage[],
  options: ChatOptions = {}
): string {
  const template = requireTemplate(model)
  if (messages.length > MAX_MESSAGES) {
    throw badInput(
      `The chat cannot be rendered: ${messages.length} messages are over ${MAX_MESSAGES}`
    )
  }
  const specials = specialTexts(model)
  const { tools = [], toolsInWords = false, ...rest } = options
  const inWords = toolsInWords && tools.length > 0
  if (inWords || isWithoutPlace(template, messages, tools)) {
    const told = withToldTools(messages, tools, template)
    return render(
      template,
      told.map((message) => plainMessage(message, AS_THEY_ARE)),
      rest,
      specials
    )
  }
  const hasCalls = messages.some(({ tool_calls: calls }) => (calls?.length ?? 0) > 0)
  // Mistral's refuse any other id.
  const shortIds = /length\s*!=\s*9/.test(template)
  const asText = hasCalls && takesTextArguments(template, specials)
  const plain = messages.map((message) => plainMessage(message, { asText, shortIds }))
  return render(template, plain, options, specials)
}

/** Whether there is something of tools that the template would leave out. */
function isWithoutPlace(
  template: string,
  messages: readonly ChatMessage[],
  tools: readonly object[]
): boolean {
  if (hasPlaceForTools(template)) return false
  if (tools.length > 0) return true
  const isOfTools = ({ role, tool_calls: calls }: ChatMessage): boolean =>
    role === 'tool' || (calls?.length ?? 0) > 0
  return messages.some(isOfTools) && !template.includes('tool_calls')
}

type Fields = Readonly<Record<string, unknown>>

function render(
  template: string,
  messages: readonly Fields[],
  options: ChatOptions,
  specials: Fields
): string {
  const { addGenerationPrompt = true, date = new Date(systemClock.wall()) } = options
  try {
    const environment = new Environment()
    const names = {
      ...options.variables,
      ...templateGlobals(date),
      ...specials,
      messages,
      tools: options.tools?.length ? options.tools : null,
      documents: options.documents?.length ? options.documents : null,
      add_generation_prompt: addGenerationPrompt
    }
    for (const [name, value] of Object.entries(names)) environment.set(name, value)
    const given = [messages, options.tools, options.documents, options.variables]
    const length = JSON.stringify(given).length
    return runTemplate(parsed(template), environment, {
      work: BASE_WORK + length * WORK_PER_CHARACTER + messages.length * WORK_PER_MESSAGE,
      size: BASE_SIZE + length * SIZE_PER_CHARACTER
    })
  } catch (error) {
    if (error instanceof AppError) throw error
    throw badInput(`The chat template refuses these messages: ${toAppError(error).message}`, {
      hint: 'Use --raw to give the model the text as it is',
      advice: AS_IT_IS,
      cause: error
    })
  }
}

function parsed(source: string): ReturnType<typeof parse> {
  // As Jinja reads a source: every end of a line is one character.
  const template = source.replaceAll(/\r\n?/g, '\n')
  if (template.length > MAX_TEMPLATE_LENGTH) {
    throw badInput(`The chat template cannot be used: it has ${template.length} characters`)
  }
  if (new RegExp(`\\s{${MAX_SPACES}}`).test(template)) {
    throw badInput(`The chat template cannot be used: it has over ${MAX_SPACES} spaces in a row`)
  }
  return parse(tokenize(template, { lstrip_blocks: true, trim_blocks: true }))
}

/** How a template wants calls. */
interface CallForm {
  /** Arguments as JSON, and not as an object. */
  readonly asText: boolean
  /** Ids of nine letters and digits. */
  readonly shortIds: boolean
}

const AS_THEY_ARE: CallForm = { asText: false, shortIds: false }

/** Only what is there: a template may ask whether a message has a field at all. */
function plainMessage(message: ChatMessage, form: CallForm): Fields {
  const { tool_calls: calls, tool_call_id: id, ...rest } = message
  const given = Object.entries(rest).filter(([, value]) => value !== undefined)
  return {
    ...Object.fromEntries(given),
    ...(id === undefined ? {} : { tool_call_id: idOf(id, form) }),
    ...(calls?.length ? { tool_calls: calls.map((call) => plainCall(call, form)) } : {})
  }
}

/** Arguments come as JSON from clients, and templates want the object; a few want the JSON. */
function plainCall(call: ChatToolCall, form: CallForm): Fields {
  const { name, arguments: given } = call.function
  const object = typeof given === 'string' ? objectOf(given) : given
  const json = typeof given === 'string' ? given : JSON.stringify(given)
  return {
    ...(call.id === undefined ? {} : { id: idOf(call.id, form) }),
    type: 'function',
    function: { name, arguments: form.asText ? json : (object ?? given) }
  }
}

function idOf(id: string, { shortIds }: CallForm): string {
  if (!shortIds || /^[A-Za-z0-9]{9}$/.test(id)) return id
  return id
    .replaceAll(/[^A-Za-z0-9]/g, '')
    .slice(-9)
    .padStart(9, '0')
}

function objectOf(json: string): object | undefined {
  try {
    const value: unknown = JSON.parse(json === '' ? '{}' : json)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

const PROBE = { 'petals-key': 'petals-value' }

/** Whether a template writes a call's arguments only when they are JSON already. */
function takesTextArguments(template: string, specials: Fields): boolean {
  const writes = (asText: boolean): boolean => {
    const call = { id: 'abcdefghi', function: { name: 'probe', arguments: PROBE } }
    const messages = [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: '', tool_calls: [call] }
    ].map((message) => plainMessage(message, { asText, shortIds: true }))
    try {
      const text = render(template, messages, { addGenerationPrompt: false }, specials)
      return text.includes('petals-key') && text.includes('petals-value')
    } catch {
      return false
    }
  }
  return !writes(false) && writes(true)
}

/** The texts of BOS and EOS, which many templates write themselves. */
function specialTexts({ tokenizer }: Pick<Model, 'tokenizer'>): Fields {
  const { json, bosId, eosIds } = tokenizer
  const added = (json as { added_tokens?: { id: number; content: string }[] }).added_tokens ?? []
  const text = (id: number | undefined): string =>
    added.find((token) => token.id === id)?.content ?? ''
  return { bos_token: text(bosId), eos_token: text(eosIds[0]) }
}
