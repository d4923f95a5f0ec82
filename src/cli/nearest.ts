// Finds the word that was probably meant by a mistyped one.
import { editDistance } from '../model/aliases.ts'

/**
 * The one of `words` that differs least from `typed`, if by few letters; undefined if none is near.
 */
export function nearest(typed: string, words: readonly string[]): string | undefined {
  const wanted = typed.toLowerCase()
  const third = Math.floor(wanted.length / 3)
  const most = Math.max(third, Math.min(2, Math.floor(wanted.length / 2)))
  const [best] = words
    .map((word) => ({ word, distance: editDistance(wanted, word.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)
  if (best && best.distance <= most) return best.word
  // The beginning of a word counts too: --temp, --sys.
  const begun = words.filter((word) => wanted.length >= 3 && word.startsWith(wanted))
  return begun.length === 1 ? begun[0] : undefined
}
