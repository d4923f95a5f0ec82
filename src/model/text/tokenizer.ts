// Text to ids and back by @huggingface/tokenizers, with a streaming decoder that never splits a
// character. Knows no models: a TokenizerSpec is all it needs.
import { AppError, badInput } from '../../base/errors.ts'
import type { TokenizerSpec } from '../types.ts'
import {
  addedTokens,
  type CutPlace,
  cutPlace,
  type Library,
  longestToken,
  openLibrary
} from './library.ts'
import { piecesOf } from './long-text.ts'
import { freePlane, withStandIns } from './stand-ins.ts'

export interface EncodeOptions {
  /** Puts BOS first if the model wants it. Default false. */
  addSpecial?: boolean
  /** Encodes `<|im_end|>` and the like as special tokens, not as text. Default false. */
  parseSpecial?: boolean
  /** A longer text is refused, as soon as that is certain. Default: no limit. */
  maxTokens?: number
}

export interface DecodeOptions {
  /** Leaves special tokens out. Default true. */
  skipSpecial?: boolean
  /** Texts of special tokens that are left in all the same: marks of calls. Default none. */
  shown?: readonly string[] | undefined
}

export interface StreamOptions extends DecodeOptions {
  /** Preceding ids: what is pushed is decoded as their continuation. Default none. */
  after?: readonly number[]
}

/** Decodes text piece by piece as it becomes certain. All pieces together are the decoded text. */
export interface DecodeStream {
  /** The text that `id` completes, often ''. */
  push(id: number): string
  /** The rest; an incomplete character becomes U+FFFD. */
  end(): string
}

/** A text of more tokens than the model takes. */
export class PromptTooLong extends AppError {
  readonly mostTokens: number

  constructor(mostTokens: number) {
    super(
      'BAD_INPUT',
      `The prompt is too long: over the ${mostTokens} tokens that the model takes`,
      {
        advice: 'Shorten the text, or use a model with a longer context'
      }
    )
    this.mostTokens = mostTokens
  }
}

export interface Tokenizer {
  readonly spec: TokenizerSpec
  /** Texts of the special tokens, which `parseSpecial` encodes as tokens. */
  readonly specials: readonly string[]
  /** @throws AppError BAD_INPUT for a text of too many tokens */
  encode(text: string, options?: EncodeOptions): number[]
  /**
   * Encodes a text in which standIn(plane, index) is a special token, and a special token's text is
   * text.
   * @throws AppError BAD_INPUT for a text of too many tokens
   */
  encodeMarked(text: string, plane: number, options?: Pick<EncodeOptions, 'maxTokens'>): number[]
  /**
   * Refuses a length that is certain to be more than `maxTokens` tokens, without the text.
   * @throws AppError BAD_INPUT
   */
  checkLength(length: number, maxTokens: number): void
  /** @throws AppError BAD_INPUT for invalid ids; ids without a text are skipped. */
  decode(ids: readonly number[], options?: DecodeOptions): string
  stream(options?: StreamOptions): DecodeStream
}

/** A longer text is refused: it exceeds any context. */
const MAX_TEXT_LENGTH = 2 ** 26
/** Texts up to this length are encoded as a whole. */
const SHORT_LENGTH = 2 ** 15
/** How many tokens the end of a part may differ by. */
const SLACK_TOKENS = 1000
/** An incomplete character has at most three bytes, so only the last tokens can be uncertain. */
const MAX_WINDOW = 24

/** @throws AppError CORRUPT if the description cannot be used. */
export function createTokenizer(spec: TokenizerSpec): Tokenizer {
  const added = addedTokens(spec.json)
  const specialIds = new Set(added.filter((token) => token.special).map(({ id }) => id))
  const whole = openLibrary(spec.json, spec.config)
  // The library always takes added tokens out of a text, but special ones must not come from a
  // user's text. So a second instance, created on first use, knows them only by private characters.
  const apart = new Map<number, Library>()
  const libraryFor = (plane: number): Library => {
    const known = apart.get(plane)
    if (known) return known
    const made = openLibrary(withStandIns(spec.json, added, plane), spec.config)
    apart.set(plane, made)
    return made
  }
  let cut: CutPlace | null | undefined
  let longest: number | undefined

  const tooLong = (most: number): Error => new PromptTooLong(most)
  // No token stands for more text than the longest one.
  const checkLength = (length: number, most: number): void => {
    if (length <= most) return
    longest ??= longestToken(spec.json)
    if (length > most * longest) throw tooLong(most)
  }

  const encodeWith = (library: Library, text: string, most = Infinity): number[] => {
    const encodePiece = (piece: string): number[] =>
      library.encode(piece, { add_special_tokens: false }).ids
    checkLength(text.length, most)
    if (text.length <= SHORT_LENGTH) return encodePiece(text)
    cut ??= cutPlace(whole, spec.json) ?? null
    if (!cut) {
      // A part has as many tokens as in the whole, but for its last word.
      for (let length = 2 * SHORT_LENGTH; length < text.length; length *= 2) {
        const part = encodePiece(text.slice(0, length).toWellFormed())
        if (part.length > 1.1 * most + SLACK_TOKENS) throw tooLong(most)
      }
      return encodePiece(text)
    }
    const ids: number[] = []
    let last = { piece: '', ids: ids as readonly number[] }
    for (const piece of piecesOf(text, cut.at)) {
      // If a space is added before each text, that is the space with which a later piece begins.
      const hasOwn = ids.length > 0 && cut.addsSpace && piece.startsWith(' ')
      // Endless lines of one character are cut into equal pieces.
      const isSame = piece === last.piece
      if (!isSame) last = { piece, ids: encodePiece(hasOwn ? piece.slice(1) : piece) }
      for (const id of last.ids) ids.push(id)
      if (ids.length > most) throw tooLong(most)
    }
    return ids
  }

  const encode = (text: string, options: EncodeOptions = {}): number[] => {
    const { addSpecial, parseSpecial, maxTokens } = options
    if (text.length > MAX_TEXT_LENGTH) {
      throw badInput(
        `The text cannot be read: ${text.length} characters are over ${MAX_TEXT_LENGTH}`
      )
    }
    const known = text.toWellFormed()
    const library = parseSpecial ? whole : libraryFor(freePlane([known]))
    const ids = encodeWith(library, known, maxTokens)
    const { bosId } = spec
    if (!addSpecial || !spec.addBos || bosId === undefined) return ids
    // A text that spells out BOS has it already.
    return parseSpecial && ids[0] === bosId ? ids : [bosId, ...ids]
  }

  const decode = (ids: readonly number[], options: DecodeOptions = {}): string => {
    const { skipSpecial = true, shown = [] } = options
    const showsSome = skipSpecial && shown.length > 0
    const known = ids.filter((id) => {
      if (!Number.isInteger(id) || id < 0) throw badInput(`'${id}' cannot be decoded: it is no id`)
      const text = whole.id_to_token(id)
      return text !== undefined && (!showsSome || !specialIds.has(id) || shown.includes(text))
    })
    if (known.length === 0) return ''
    return whole.decode(known, {
      skip_special_tokens: skipSpecial && !showsSome,
      clean_up_tokenization_spaces: false
    })
  }

  return {
    spec,
    specials: added.filter((token) => token.special).map((token) => token.content),
    encode,
    encodeMarked: (text, plane, { maxTokens } = {}) =>
      encodeWith(libraryFor(plane), text.toWellFormed(), maxTokens),
    checkLength,
    decode,
    stream: (options = {}) => createStream((ids) => decode(ids, options), options.after ?? [])
  }
}

/**
 * Keeps the last ids and how much of their text was returned. Only a final U+FFFD, an incomplete
 * character, can still change, so everything before it is certain.
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
  // Drops ids at a place where the text splits independently, so that no later text depends on
  // them.
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
