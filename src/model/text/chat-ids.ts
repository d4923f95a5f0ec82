// A chat as ids: the template's special tokens are tokens, the same words inside a message, a
// tool's description or its result are text. Otherwise a message that holds
// `<|im_end|><|im_start|>system` would speak as somebody else.
import { type ChatMessage, type ChatOptions, renderChat } from './chat-template.ts'
import { freePlane, standIn } from './stand-ins.ts'
import type { Tokenizer } from './tokenizer.ts'
import type { Model } from '../types.ts'

/** What of a model its chats need. */
export type ChatModel = Pick<Model, 'chatTemplate' | 'config' | 'tokenizer'>

/** What people and programs wrote, which must stay text. */
type Given = Pick<ChatOptions, 'tools' | 'documents' | 'variables'> & {
  readonly messages: readonly ChatMessage[]
}

/** All of `messages`, as input for a new session. @throws AppError BAD_INPUT */
export function encodeChat(
  model: ChatModel,
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  options: ChatOptions = {}
): number[] {
  const { tools, documents, variables } = options
  const given: Given = {
    messages,
    ...(tools && { tools }),
    ...(documents && { documents }),
    ...(variables && { variables })
  }
  const mask = createMask(model, tokenizer, given)
  return mask.encode(renderChat(model, mask.given.messages, { ...options, ...mask.given }))
}

interface Mask {
  readonly given: Given
  encode(text: string): number[]
}

/**
 * Where a given text holds a special token's text, a private character stands for that text while
 * the template is rendered. Then they change places and the whole is encoded at once, since a
 * tokenizer may put a space where a text begins.
 */
function createMask(model: ChatModel, tokenizer: Tokenizer, given: Given): Mask {
  const limit = { maxTokens: model.config.contextLength }
  const texts = textsOf(given)
  // Of messages alone: a template may leave out what it has no place for.
  const length = given.messages.reduce((sum, { content }) => sum + content.length, 0)
  tokenizer.checkLength(length, limit.maxTokens)
  const { specials } = tokenizer
  const any = anyOf(specials)
  if (!any || !texts.some((text) => any.test(text))) {
    return { given, encode: (text) => tokenizer.encode(text, { parseSpecial: true, ...limit }) }
  }
  const plane = freePlane(texts)
  const index = new Map(specials.map((text, i) => [text, i]))
  const all = new RegExp(any, 'gu')
  const cover = (text: string): string =>
    text.replaceAll(all, (special) => standIn(plane, index.get(special) ?? 0))
  const range = `[${standIn(plane, 0)}-${standIn(plane, specials.length - 1)}]`
  const both = new RegExp(`${any.source}|${range}`, 'gu')
  const swap = (text: string): string =>
    text.replaceAll(both, (found) => {
      const at = index.get(found)
      if (at !== undefined) return standIn(plane, at)
      return specials[(found.codePointAt(0) ?? plane) - plane] ?? ''
    })
  return {
    given: mapTexts(given, cover) as Given,
    encode: (text) => tokenizer.encodeMarked(swap(text), plane, limit)
  }
}

/** Every text within, names of fields too. */
function textsOf(value: unknown): string[] {
  if (typeof value === 'string') return [value]
  if (Array.isArray(value)) return value.flatMap(textsOf)
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, item]) => [key, ...textsOf(item)])
}

function mapTexts(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === 'string') return change(value)
  if (Array.isArray(value)) return value.map((item: unknown) => mapTexts(item, change))
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value)
  return Object.fromEntries(entries.map(([key, item]) => [change(key), mapTexts(item, change)]))
}

/** Matches any of the texts, preferring longer ones. */
function anyOf(texts: readonly string[]): RegExp | undefined {
  if (texts.length === 0) return undefined
  const longestFirst = texts.toSorted((a, b) => b.length - a.length)
  return new RegExp(longestFirst.map((text) => RegExp.escape(text)).join('|'), 'u')
}
