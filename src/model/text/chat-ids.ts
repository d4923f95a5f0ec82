// A chat as ids: the template's special tokens are tokens, the same words inside a message are
// text. Otherwise a message that holds `<|im_end|><|im_start|>system` would speak as somebody else.
import { badInput } from '../../base/errors.ts'
import { type ChatMessage, type ChatOptions, chatTurns, renderChat } from './chat-template.ts'
import type { Tokenizer } from './tokenizer.ts'
import type { Model } from '../types.ts'

/** All of `messages`, as a new session is fed. @throws AppError BAD_INPUT */
export function encodeChat(
  model: Model,
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  options: ChatOptions = {}
): number[] {
  const mask = createMask(tokenizer, messages)
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
  const mask = createMask(tokenizer, messages)
  const text = chatTurns(model, mask.messages, options)
  return text === undefined ? undefined : mask.encode(text)
}

interface Mask {
  readonly messages: readonly ChatMessage[]
  encode(text: string): number[]
}

/** The two planes of private characters, one to stand for each special token's text. */
const PLANES: readonly number[] = [0xf0000, 0x100000]
const PLANE_SIZE = 0xfffd

function createMask(tokenizer: Tokenizer, messages: readonly ChatMessage[]): Mask {
  const specials = tokenizer.specials.toSorted((a, b) => b.length - a.length)
  const holds = messages.some(({ content }) => specials.some((text) => content.includes(text)))
  if (!holds) {
    return { messages, encode: (text) => tokenizer.encode(text, { parseSpecial: true }) }
  }
  const base = PLANES.find((plane) => !messages.some(({ content }) => usesPlane(content, plane)))
  if (base === undefined || specials.length > PLANE_SIZE) {
    throw badInput(
      'The message cannot be told from special tokens: it uses every private character'
    )
  }
  const stand = (index: number): string => String.fromCodePoint(base + index)
  const cover = (content: string): string =>
    specials.reduce((text, special, i) => text.replaceAll(special, stand(i)), content)
  const uncover = (text: string): string =>
    specials.reduce((covered, special, i) => covered.replaceAll(stand(i), special), text)
  const pattern = new RegExp(`(${specials.map((text) => RegExp.escape(text)).join('|')})`)
  return {
    messages: messages.map(({ role, content }) => ({ role, content: cover(content) })),
    encode: (text) =>
      text
        .split(pattern)
        .flatMap((piece, i) =>
          i % 2 === 1
            ? tokenizer.encode(piece, { parseSpecial: true })
            : tokenizer.encode(uncover(piece))
        )
  }
}

function usesPlane(content: string, plane: number): boolean {
  for (const character of content) {
    const code = character.codePointAt(0) ?? 0
    if (code >= plane && code <= plane + 0xffff) return true
  }
  return false
}
