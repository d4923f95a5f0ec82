// Long texts in pieces that encode to the same ids as the whole, so that a text of megabytes takes
// no gigabytes, and one that is too long is refused as soon as that is certain. Knows nothing of
// vocabularies; tokenizer.ts encodes the pieces.

/** A piece has at least so many characters, if the text does. */
const PIECE_CHARACTERS = 2 ** 14
/** How far a place to cut is looked for. */
const SEARCH_CHARACTERS = 2 ** 16
/**
 * Between a letter and a space or line that a letter follows: every known way of splitting cuts
 * there.
 */
const CUTS: Readonly<Record<Cut, RegExp>> = {
  space: /\p{L}(?= \p{L})/gu,
  line: /\p{L}(?=[ \n]\p{L})/gu
}

/** Where a text may be cut: before a space that parts words, or before a new line too. */
export type Cut = 'space' | 'line'

/**
 * The pieces of a text; all but the first begin with what parts them from the one before. A text
 * without a place to cut, of one endless word, is cut anywhere: no model has seen a word of 80,000
 * letters.
 */
export function* piecesOf(text: string, cut: Cut): Generator<string> {
  const pattern = CUTS[cut]
  let start = 0
  while (text.length - start > 2 * PIECE_CHARACTERS) {
    const from = start + PIECE_CHARACTERS
    const window = text.slice(from, from + SEARCH_CHARACTERS)
    pattern.lastIndex = 0
    const found = pattern.exec(window)
    const end = from + (found ? found.index + found[0].length : window.length)
    if (end >= text.length) break
    const isWithinPair = /[\udc00-\udfff]/.test(text.charAt(end))
    yield text.slice(start, isWithinPair ? end + 1 : end)
    start = isWithinPair ? end + 1 : end
  }
  yield text.slice(start)
}
