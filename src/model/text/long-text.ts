// Cuts long texts into pieces that encode to the same ids as the whole, so that megabytes of text
// do not take gigabytes of memory, and a text that is too long is refused as soon as that is
// certain. Knows no vocabularies; tokenizer.ts encodes the pieces.

/** Least characters of a piece, if the text has as many. */
const PIECE_CHARACTERS = 2 ** 14
/** How far a place to cut is searched for. */
const SEARCH_CHARACTERS = 2 ** 12
/**
 * Between a letter and a space, a newline or a full-width mark that a letter follows: every known
 * pattern splits there.
 */
const CUTS: Readonly<Record<Cut, RegExp>> = {
  space: /\p{L}(?= \p{L})/gu,
  line: /\p{L}(?=[ \n\uff0c\u3002\uff01\uff1f]\p{L})/gu
}

/** Where a text may be cut: before a space between words, or also before newlines and marks. */
export type Cut = 'space' | 'line'

/**
 * The pieces of a text; all but the first begin with the separator. A text without a place to cut,
 * i.e. one endless word, is cut anywhere: no model has seen a word of 20,000 letters.
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
