// Private characters that replace special tokens, so that a special token's text inside a user's
// text stays text. tokenizer.ts encodes with them, chat-ids.ts puts them into a chat.
import { badInput, corrupt } from '../../base/errors.ts'
import type { AddedTokenJson } from './vocab.ts'

/** The two planes of private characters. */
const PLANES: readonly number[] = [0xf0000, 0x100000]
const PLANE_SIZE = 0xfffd
/** The first surrogates of the first plane's characters. */
const FIRST_PLANE = /[\udb80-\udbbf]/
const SECOND_PLANE = /[\udbc0-\udbff]/

/** Start of a plane of private characters that none of `texts` uses. @throws AppError BAD_INPUT */
export function freePlane(texts: readonly string[]): number {
  const isFree = (used: RegExp): boolean => !texts.some((text) => used.test(text))
  const plane = PLANES.find((_, i) => isFree(i === 0 ? FIRST_PLANE : SECOND_PLANE))
  if (plane !== undefined) return plane
  throw badInput('The text cannot be told from special tokens: it uses every private character')
}

/** The character that replaces the special token with this index among the specials. */
export function standIn(plane: number, index: number): string {
  return String.fromCodePoint(plane + index)
}

/** A tokenizer.json with private characters as the texts of special tokens. */
export function withStandIns(
  json: object,
  added: readonly AddedTokenJson[],
  plane: number
): object {
  const specials = added.filter((token) => token.special)
  if (specials.length > PLANE_SIZE) throw corrupt('The tokenizer has too many special tokens')
  const tokens = [
    ...added.filter((token) => !token.special),
    ...specials.map((token, i) => ({ ...token, content: standIn(plane, i), normalized: false }))
  ]
  const { model } = json as { model?: { vocab?: unknown; unk_token?: unknown; merges?: unknown } }
  const vocab = model?.vocab
  if (typeof vocab !== 'object' || vocab === null || Array.isArray(vocab)) {
    return { ...json, added_tokens: tokens }
  }
  const texts = new Set(specials.map(({ content }) => content))
  const rest = Object.assign(Object.create(null), vocab) as Record<string, unknown>
  // The token for unknown characters must stay, and no text produces it otherwise.
  for (const text of texts) if (text !== model?.unk_token) delete rest[text]
  const merges = safeMerges(model?.merges, texts)
  return { ...json, added_tokens: tokens, model: { ...model, vocab: rest, merges } }
}

/** Removes merges that would turn a user's text into a special token. */
function safeMerges(merges: unknown, texts: ReadonlySet<string>): unknown {
  if (!Array.isArray(merges)) return merges
  const ends = new Set([...texts].map((text) => text.at(-1)))
  const isSafe = (merge: unknown): boolean => {
    const pair: unknown[] = Array.isArray(merge) ? merge : String(merge).split(' ', 2)
    const right = String(pair[1])
    return !ends.has(right.at(-1)) || !texts.has(`${String(pair[0])}${right}`)
  }
  return merges.every(isSafe) ? merges : merges.filter(isSafe)
}
