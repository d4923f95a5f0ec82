// Describes a SentencePiece BPE vocabulary (tokens and scores) as a tokenizer.json with byte
// fallback. SentencePiece has no list of merges: it joins the neighbours that make the token with
// the highest score.
import { vocabOf } from './vocab.ts'

const SPACE = '\u2581'

/**
 * SentencePiece's own default is 16. The cost is quadratic, so a hostile file must not have long
 * tokens.
 */
const MAX_PIECE_CHARACTERS = 256

export interface SentencePiece {
  /** Tokens by id, with U+2581 for a space. */
  readonly tokens: readonly string[]
  readonly scores: readonly number[]
  /** Whether text is encoded as if a space came before it. */
  readonly addPrefix: boolean
  readonly unk: string | undefined
  /** Ids of tokens that text never produces: control tokens and bytes. */
  readonly apart: ReadonlySet<number>
}

/** The members `normalizer`, `pre_tokenizer`, `decoder` and `model` of a tokenizer.json. */
export function sentencePieceJson(piece: SentencePiece): object {
  return {
    ...spacesToText(piece.addPrefix),
    pre_tokenizer: null,
    model: {
      type: 'BPE',
      vocab: vocabOf(piece.tokens),
      merges: mergesOf(piece),
      unk_token: piece.unk ?? null,
      byte_fallback: true,
      fuse_unk: true
    }
  }
}

/**
 * The members `normalizer` and `decoder`: a space is U+2581, also at the start of the text if
 * `addPrefix`.
 */
export function spacesToText(addPrefix: boolean): object {
  const strip = { type: 'Strip', content: ' ', start: 1, stop: 0 }
  const toSpace = { type: 'Replace', pattern: { String: ' ' }, content: SPACE }
  return {
    normalizer: {
      type: 'Sequence',
      normalizers: addPrefix ? [{ type: 'Prepend', prepend: SPACE }, toSpace] : [toSpace]
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: SPACE }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(addPrefix ? [strip] : [])
      ]
    }
  }
}

/**
 * Every way to make a token of two parts, best score first. A part may be a single character that
 * is no token.
 */
export function mergesOf(piece: SentencePiece): [string, string][] {
  const { tokens, scores, apart } = piece
  const order = tokens
    .map((_, id) => id)
    .filter((id) => !apart.has(id))
    .sort((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0) || a - b)
  const stands = new Set(order.map((id) => tokens[id]))
  const merges: [string, string][] = []
  for (const id of order) {
    const characters = Array.from(tokens[id] ?? '')
    if (characters.length > MAX_PIECE_CHARACTERS) continue
    for (let at = 1; at < characters.length; at++) {
      const left = characters.slice(0, at).join('')
      const right = characters.slice(at).join('')
      const leftStands = at === 1 || stands.has(left)
      const rightStands = at === characters.length - 1 || stands.has(right)
      if (leftStands && rightStands) merges.push([left, right])
    }
  }
  return merges
}
