// Text to ids and back by @huggingface/tokenizers, with a streaming decoder that never splits a
// character. Knows no models: what it needs is a TokenizerSpec.
import { Tokenizer as Library } from '@huggingface/tokenizers'
import { badInput, corrupt } from '../../base/errors.ts'
import type { TokenizerSpec } from '../types.ts'
import type { AddedTokenJson } from './vocab.ts'

export interface EncodeOptions {
  /** Puts BOS first where the model wants it. Default false. */
  addSpecial?: boolean
  /** Reads `<|im_end|>` and the like as the tokens they name, and not as text. Default false. */
  parseSpecial?: boolean
}

export interface DecodeOptions {
  /** Leaves special tokens out. Default true. */
  skipSpecial?: boolean
}

export interface StreamOptions extends DecodeOptions {
  /** Ids that came before: what is pushed is decoded as their continuation. Default none. */
  after?: readonly number[]
}

/** Text as it becomes certain: the parts together are the whole decoded text. */
export interface DecodeStream {
  /** The text that `id` completes, often ''. */
  push(id: number): string
  /** What was held back, an incomplete character as U+FFFD. */
  end(): string
}

export interface Tokenizer {
  readonly spec: TokenizerSpec
  /** Texts of the special tokens: what `parseSpecial` reads as tokens. */
  readonly specials: readonly string[]
  encode(text: string, options?: EncodeOptions): number[]
  /** @throws AppError BAD_INPUT for what is no id; ids without a text are nothing. */
  decode(ids: readonly number[], options?: DecodeOptions): string
  stream(options?: StreamOptions): DecodeStream
}

/**
 * A text longer than this is refused: it is over any context, and would hold the thread for long.
 */
const MAX_TEXT_LENGTH = 2 ** 24

/** An incomplete character is at most three bytes, so the last tokens decide what is certain. */
const MAX_WINDOW = 24

/** @throws AppError CORRUPT when the description cannot be used. */
export function createTokenizer(spec: TokenizerSpec): Tokenizer {
  const added = addedTokens(spec.json)
  const whole = openLibrary(spec.json, spec.config)
  // The library always takes added tokens out of a text. Special ones must not come from a user's
  // text, so a second one without them reads it; made when first needed, it shares the vocabulary.
  let plain: Library | undefined
  const withoutSpecials = (): Library => {
    plain ??= openLibrary(withoutSpecialTokens(spec.json, added), spec.config)
    return plain
  }

  const encode = (text: string, options: EncodeOptions = {}): number[] => {
    if (text.length > MAX_TEXT_LENGTH) {
      throw badInput(
        `The text cannot be read: ${text.length} characters are over ${MAX_TEXT_LENGTH}`
      )
    }
    const library = options.parseSpecial ? whole : withoutSpecials()
    const { ids } = library.encode(text.toWellFormed(), { add_special_tokens: false })
    const { bosId } = spec
    if (options.addSpecial && spec.addBos && bosId !== undefined) return [bosId, ...ids]
    return ids
  }

  const decode = (ids: readonly number[], options: DecodeOptions = {}): string => {
    const known = ids.filter((id) => {
      if (!Number.isInteger(id) || id < 0) throw badInput(`'${id}' cannot be decoded: it is no id`)
      return whole.id_to_token(id) !== undefined
    })
    if (known.length === 0) return ''
    return whole.decode(known, {
      skip_special_tokens: options.skipSpecial ?? true,
      clean_up_tokenization_spaces: false
    })
  }

  return {
    spec,
    specials: added.filter((token) => token.special).map((token) => token.content),
    encode,
    decode,
    stream: (options = {}) => createStream((ids) => decode(ids, options), options.after ?? [])
  }
}

/** The description without special tokens, neither among the added ones nor in the vocabulary. */
function withoutSpecialTokens(json: object, added: readonly AddedTokenJson[]): object {
  const ordinary = added.filter((token) => !token.special)
  const { model } = json as { model?: { vocab?: unknown } }
  const vocab = model?.vocab
  if (typeof vocab !== 'object' || vocab === null || Array.isArray(vocab)) {
    return { ...json, added_tokens: ordinary }
  }
  const rest = Object.assign(Object.create(null), vocab) as Record<string, unknown>
  for (const { content, special } of added) if (special) delete rest[content]
  return { ...json, added_tokens: ordinary, model: { ...model, vocab: rest } }
}

/**
 * Holds a window of the last ids and how much of its text was given out. Only a last U+FFFD can
 * still change (an incomplete character), so all before it is certain.
 */
function createStream(
  decode: (ids: readonly number[]) => string,
  after: readonly number[]
): DecodeStream {
  let window = after.slice(-MAX_WINDOW)
  let given = decode(window).length
  const give = (text: string, end: number): string => {
    const piece = text.slice(given, end)
    given = Math.max(given, end)
    return piece
  }
  // Cuts where the text falls into two by itself, so that no later text depends on what is dropped.
  const shorten = (text: string): void => {
    for (let keep = Math.min(window.length - 1, 8); keep >= 1; keep--) {
      const head = decode(window.slice(0, -keep))
      if (head + decode(window.slice(-keep)) === text && head.length <= given) {
        window = window.slice(-keep)
        given -= head.length
        return
      }
    }
  }
  return {
    push(id) {
      window.push(id)
      const text = decode(window)
      const piece = give(text, text.endsWith('\uFFFD') ? text.length - 1 : text.length)
      if (window.length >= MAX_WINDOW) shorten(text)
      return piece
    },
    end() {
      const text = decode(window)
      return give(text, text.length)
    }
  }
}

function openLibrary(json: object, config: object): Library {
  try {
    return new Library(json, config)
  } catch (error) {
    throw corrupt('The tokenizer cannot be opened: its description is not understood', {
      cause: error
    })
  }
}

function addedTokens(json: object): AddedTokenJson[] {
  const list = (json as { added_tokens?: unknown }).added_tokens
  if (!Array.isArray(list)) return []
  return list.filter(
    (token: unknown): token is AddedTokenJson =>
      typeof token === 'object' &&
      token !== null &&
      typeof (token as AddedTokenJson).content === 'string' &&
      Number.isInteger((token as AddedTokenJson).id)
  )
}
