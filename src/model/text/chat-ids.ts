// A chat as ids: the template's special tokens are tokens, the same words inside a message are
// text. Otherwise a message that holds `<|im_end|><|im_start|>system` would speak as somebody else.
import { type ChatMessage, type ChatOptions, chatTurns, renderChat } from './chat-template.ts'
import { freePlane, standIn } from './stand-ins.ts'
import type { Tokenizer } from './tokenizer.ts'
import type { Model } from '../types.ts'

/** All of `messages`, as a new session is fed. @throws AppError BAD_INPUT */
export function encodeChat(
  model: Model,
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  options: ChatOptions = {}
): number[] {
  const mask = createMask(model, tokenizer, messages)
  return mask.encode(renderChat(model, mask.messages, options))
}

/**
 * The last of `messages`, as a session is fed that holds all before it: from right behind the last
 * answer's text on, without the stop token that ended it.
 * @returns undefined when the session must be fed anew.
 * @throws AppError BAD_INPUT
 */
export function encodeTurn(
  model: Model,
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  options: ChatOptions = {}
): number[] | undefined {
  const mask = createMask(model, tokenizer, messages)
  const text = chatTurns(model, mask.messages, options)
  return text === undefined ? undefined : mask.encode(text)
}

interface Mask {
  readonly messages: readonly ChatMessage[]
  encode(text: string): number[]
}

/**
 * Where a message holds a special token's text, a private character stands for that text while the
 * template is rendered. Then they change places and the whole is encoded at once, since a tokenizer
 * may put a space where a text begins.
 */
function createMask(model: Model, tokenizer: Tokenizer, messages: readonly ChatMessage[]): Mask {
  const limit = { maxTokens: model.config.contextLength }
  const length = messages.reduce((sum, { content }) => sum + content.length, 0)
  tokenizer.checkLength(length, limit.maxTokens)
  const { specials } = tokenizer
  const any = anyOf(specials)
  if (!any || !messages.some(({ content }) => any.test(content))) {
    return { messages, encode: (text) => tokenizer.encode(text, { parseSpecial: true, ...limit }) }
  }
  const plane = freePlane(messages.map(({ content }) => content))
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
    messages: messages.map(({ role, content }) => ({ role, content: cover(content) })),
    encode: (text) => tokenizer.encodeMarked(swap(text), plane, limit)
  }
}

/** Matches any of the texts, the longest first. */
function anyOf(texts: readonly string[]): RegExp | undefined {
  if (texts.length === 0) return undefined
  const longestFirst = texts.toSorted((a, b) => b.length - a.length)
  return new RegExp(longestFirst.map((text) => RegExp.escape(text)).join('|'), 'u')
}
