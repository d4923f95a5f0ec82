// Wraps @huggingface/tokenizers, and finds out what must be known of a vocabulary before it encodes
// a long text. tokenizer.ts uses it.
import { Tokenizer as Library } from '@huggingface/tokenizers'
import { corrupt } from '../../base/errors.ts'
import type { JsonObject } from '../formats/json-file.ts'
import { splitBy } from './byte-level.ts'
import { checkDescription } from './description-check.ts'
import type { Cut } from './long-text.ts'
import type { AddedTokenJson } from './vocab.ts'

export type { Library }

/** @throws AppError CORRUPT or UNSUPPORTED if the description cannot be used. */
export function openLibrary(json: object, config: object): Library {
  checkDescription(json)
  try {
    const parts = PARTS.map((part) => [part, rewritten((json as JsonObject)[part], part)])
    return new Library({ ...json, ...Object.fromEntries(parts) }, config)
  } catch (error) {
    throw corrupt('The tokenizer cannot be opened: its description is not understood', {
      cause: error
    })
  }
}

const PARTS = ['normalizer', 'pre_tokenizer', 'decoder'] as const
/**
 * The library's own pattern for ByteLevel, but with the originals' definition of a space: U+FEFF is
 * none.
 */
const BYTE_LEVEL =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/** A step as the library must be given it to do what the originals do. */
function rewritten(step: unknown, part: (typeof PARTS)[number]): unknown {
  if (Array.isArray(step)) return step.map((each) => rewritten(each, part))
  if (typeof step !== 'object' || step === null) return step
  const { type, use_regex: uses, add_prefix_space: adds, content } = step as JsonObject
  if (part === 'pre_tokenizer' && type === 'ByteLevel' && uses !== false && adds !== true) {
    const split = splitBy(BYTE_LEVEL)
    return { type: 'Sequence', pretokenizers: [split, { ...step, use_regex: false }] }
  }
  const lists = ['normalizers', 'pretokenizers', 'decoders'].filter((key) => key in step)
  const within = lists.map((key) => [key, rewritten((step as JsonObject)[key], part)])
  const copy = { ...step, ...Object.fromEntries(within) }
  const { Regex: regex } = ((step as JsonObject)['pattern'] ?? {}) as JsonObject
  // Tried once for each run of spaces, and not from each space of it.
  if (regex === '\\s+$') return { ...copy, pattern: { Regex: '(?<!\\s)\\s+$' } }
  // JavaScript gives `$&` and the like a meaning where a text is put.
  if (type !== 'Replace' || typeof content !== 'string') return copy
  return { ...copy, content: content.replaceAll('$', '$$$$') }
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
  'ab \u4f60',
  '\u4f60\uff0c\u597d'
]
/** Text with a place to cut in it; U+FFFD is a part of a character. */
const PHRASE = /[\p{L}\ufffd][ \n\uff0c\u3002\uff01\uff1f][\p{L}\ufffd]/u

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
    const space = sample.search(/[ \uff0c]/)
    // Between words that have no spaces only those cut that split before they merge.
    if (addsSpace && sample[space] !== ' ') return true
    const rest = sample.slice(addsSpace ? space + 1 : space)
    return joined(sample) === joined(sample.slice(0, space), rest)
  })
  const textOf = tokens('\u00e9').join('') === '\u00c3\u00a9' ? textOfBytes : textOfPiece
  if (!isCut || vocabularyOf(json).some((token) => PHRASE.test(textOf(token)))) return undefined
  return { at: addsSpace ? 'space' : 'line', addsSpace }
}

function textOfPiece(token: string): string {
  return token.replaceAll('\u2581', ' ')
}

/** Characters that stand for bytes which are none, or spaces: U+0100 on, in the bytes' order. */
const UNPRINTED: readonly number[] = Array.from({ length: 256 }, (_, byte) => byte).filter(
  (byte) => byte < 33 || (byte > 126 && byte < 161) || byte === 173
)

function textOfBytes(token: string): string {
  const codes = Array.from(token, (char) => char.charCodeAt(0))
  const bytes = codes.map((code) => (code < 256 ? code : (UNPRINTED[code - 256] ?? 0)))
  return new TextDecoder().decode(Uint8Array.from(bytes))
}
