// Examples as token ids, with the ones that are to be learnt: answers of an assistant, completions,
// and all of a plain text. Knows no rows.
import { badInput } from '../../base/errors.ts'
import { encodeChat, type ChatModel } from '../../model/text/chat-ids.ts'
import type { Tokenizer } from '../../model/text/tokenizer.ts'
import type { Example, Message } from './examples.ts'

/** An example in tokens. */
export interface TokenExample {
  readonly ids: readonly number[]
  /** For each id whether it is to be learnt; the first one never is. */
  readonly learnt: readonly boolean[]
  /** Index of its class, where classes are told apart: then no id is learnt. */
  readonly label?: number | undefined
  readonly line: number
}

export interface TokenOptions {
  /** Longer examples are cut. */
  readonly maxLength: number
  /** Names of the classes, where classes are told apart. */
  readonly labels?: readonly string[] | undefined
}

export interface TokenExamples {
  readonly examples: readonly TokenExample[]
  /** Lines that were cut, and lines of which nothing was left to learn. */
  readonly cut: readonly number[]
  readonly empty: readonly number[]
}

/** @throws AppError BAD_INPUT for a conversation that the model's template cannot take */
export function tokenExamples(
  model: ChatModel,
  tokenizer: Tokenizer,
  examples: readonly Example[],
  { maxLength, labels = [] }: TokenOptions
): TokenExamples {
  const [cut, empty]: [number[], number[]] = [[], []]
  const all: TokenExample[] = []
  for (const example of examples) {
    const { ids, learnt } = tokensOf(model, tokenizer, example)
    if (ids.length > maxLength) cut.push(example.line)
    const kept = learnt.slice(0, maxLength)
    const label = example.kind === 'label' ? labels.indexOf(example.label) : undefined
    if (ids.length > 0 && (label !== undefined || kept.some(Boolean))) {
      all.push({ ids: ids.slice(0, maxLength), learnt: kept, label, line: example.line })
    } else empty.push(example.line)
  }
  return { examples: all, cut, empty }
}

interface Marked {
  readonly ids: number[]
  readonly learnt: boolean[]
}

function tokensOf(model: ChatModel, tokenizer: Tokenizer, example: Example): Marked {
  switch (example.kind) {
    case 'messages':
      return chatTokens(model, tokenizer, example.messages, example.line)
    case 'completion': {
      const prompt = tokenizer.encode(example.prompt, { addSpecial: true })
      const rest = tokenizer.encode(example.completion, { addSpecial: false })
      return ended(model, joined(prompt, rest))
    }
    case 'text': {
      const ids = tokenizer.encode(example.text, { addSpecial: true })
      return ended(model, { ids, learnt: ids.map((_, i) => i > 0) })
    }
    case 'label': {
      const ids = classTokens(tokenizer, example.text)
      return { ids, learnt: ids.map(() => false) }
    }
    default:
      throw new TypeError('An example of an unknown kind')
  }
}

/** A text whose class is to be told, as transformers' tokenizers give it. */
export function classTokens(tokenizer: Tokenizer, text: string): number[] {
  return tokenizer.encode(text, { addSpecial: true })
}

function joined(prompt: readonly number[], rest: readonly number[]): Marked {
  const ids = [...prompt, ...rest]
  return { ids, learnt: ids.map((_, i) => i > 0 && i >= prompt.length) }
}

/** A text ends where the model should end. */
function ended(model: ChatModel, { ids, learnt }: Marked): Marked {
  const [end] = model.tokenizer.eosIds
  if (end === undefined || ids.at(-1) === end) return { ids, learnt }
  return { ids: [...ids, end], learnt: [...learnt, true] }
}

/**
 * What the template adds for each answer is what is learnt of it: the text up to the words that
 * introduce the answer is a beginning of the text with the answer.
 */
function chatTokens(
  model: ChatModel,
  tokenizer: Tokenizer,
  messages: readonly Message[],
  line: number
): Marked {
  const ids = encodeChat(model, tokenizer, messages, { addGenerationPrompt: false })
  const learnt = ids.map(() => false)
  for (const [index, { role }] of messages.entries()) {
    if (role !== 'assistant') continue
    const before = encodeChat(model, tokenizer, messages.slice(0, index))
    const behind = encodeChat(model, tokenizer, messages.slice(0, index + 1), {
      addGenerationPrompt: false
    })
    if (!startsWith(ids, behind) || !startsWith(behind, before)) {
      throw badInput(
        `Line ${line} cannot be trained on: the chat template tells turns apart otherwise`
      )
    }
    learnt.fill(true, Math.max(1, before.length), behind.length)
  }
  return { ids, learnt }
}

function startsWith(ids: readonly number[], start: readonly number[]): boolean {
  return start.length <= ids.length && start.every((id, i) => ids[i] === id)
}
