// Wraps @huggingface/tokenizers, and finds out what must be known of a vocabulary before it encodes
// a long text. tokenizer.ts uses it.
import { Tokenizer as Library } from '@huggingface/tokenizers'
import { corrupt } from '../../base/errors.ts'
import type { JsonObject } from '../formats/json-file.ts'
import type { Cut } from './long-text.ts'
import type { AddedTokenJson } from './vocab.ts'

export type { Library }

/** @throws AppError CORRUPT if the description cannot be used. */
export function openLibrary(json: object, config: object): Library {
  try {
    return new Library(withOriginalSpaces(json), config)
  } catch (error) {
    throw corrupt('The tokenizer cannot be opened: its description is not understood', {
      cause: error
    })
  }
}

/**
 * The library's own pattern for ByteLevel, but with the originals' definition of a space: U+FEFF is
 * none.
 */
const BYTE_LEVEL =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

function withOriginalSpaces(json: object): object {
  const rewrite = (part: unknown): unknown => {
    if (typeof part !== 'object' || part === null) return part
    const { type, pretokenizers, use_regex: uses, add_prefix_space: adds } = part as JsonObject
    if (type === 'Sequence' && Array.isArray(pretokenizers)) {
      return { ...part, pretokenizers: pretokenizers.map(rewrite) }
    }
    if (type !== 'ByteLevel' || uses === false || adds === true) return part
    const pattern = { Regex: BYTE_LEVEL }
    const split = { type: 'Split', pattern, behavior: 'Isolated', invert: false }
    return { type: 'Sequence', pretokenizers: [split, { ...part, use_regex: false }] }
  }
  return { ...json, pre_tokenizer: rewrite((json as JsonObject)['pre_tokenizer']) }
}

export function addedTokens(json: object): AddedTokenJson[] {
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

/** Texts of a vocabulary, in no particular order. */
export function vocabularyOf(json: object): readonly string[] {
  const { model } = json as { model?: { vocab?: unknown } | null }
  const vocab = model?.vocab ?? {}
  if (!Array.isArray(vocab)) return Object.keys(vocab)
  return vocab.map((entry: unknown) => String(Array.isArray(entry) ? entry[0] : entry))
}

/** Length of the longest token in characters, at least 1: no token stands for more text. */
export function longestToken(json: object): number {
  let longest = 1
  for (const text of vocabularyOf(json)) longest = Math.max(longest, text.length)
  for (const { content } of addedTokens(json)) longest = Math.max(longest, content.length)
  return longest
}

/** Words that every known pattern splits before the space. */
const SAMPLES: readonly string[] = [
  'ab cd',
  'Ab cd',
  'ab Cd',
  'AB CD',
  '\u00e9 \u0448',
  'ab \u4f60'
]
/** A token that contains the space between two words. */
const PHRASE = /[^\u2581\u0120 ][\u2581\u0120 ]\p{L}/u

export interface CutPlace {
  readonly at: Cut
  /** Whether text is encoded as if a space came before it. */
  readonly addsSpace: boolean
}

/** Where texts may be cut; undefined if tokens may contain a space between words. */
export function cutPlace(library: Library, json: object): CutPlace | undefined {
  const tokens = (text: string): string[] => library.tokenize(text, { add_special_tokens: false })
  const joined = (...texts: readonly string[]): string => texts.flatMap(tokens).join('\n')
  const addsSpace = /^[\u2581\u0120]/.test(tokens('a')[0] ?? '')
  const isCut = SAMPLES.every((sample) => {
    const space = sample.indexOf(' ')
    const rest = sample.slice(addsSpace ? space + 1 : space)
    return joined(sample) === joined(sample.slice(0, space), rest)
  })
  if (!isCut || vocabularyOf(json).some((token) => PHRASE.test(token))) return undefined
  return { at: addsSpace ? 'space' : 'line', addsSpace }
}
