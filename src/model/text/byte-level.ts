// Byte-level BPE as a tokenizer.json: text is split by patterns, then its bytes are merged. Knows
// no files.
import { corrupt } from '../../base/errors.ts'
import type { PreType } from './pre-types.ts'
import { vocabOf } from './vocab.ts'

/** The members `normalizer`, `pre_tokenizer`, `decoder` and `model` of a tokenizer.json. */
export function byteLevelJson(
  tokens: readonly string[],
  merges: readonly [string, string][],
  pre: PreType
): object {
  return {
    normalizer: pre.nfc ? { type: 'NFC' } : null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        ...pre.patterns.map(splitBy),
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false }
      ]
    },
    decoder: { type: 'ByteLevel' },
    model: {
      type: 'BPE',
      vocab: vocabOf(tokens),
      merges,
      unk_token: null,
      byte_fallback: false,
      ignore_merges: pre.ignoreMerges ?? false
    }
  }
}

/** A step of `pre_tokenizer`: each match becomes a piece. */
export function splitBy(pattern: string): object {
  return { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false }
}

/** The separating space is the first one that is not at the start. */
export function splitMerge(merge: string): [string, string] {
  const space = merge.indexOf(' ', 1)
  if (space < 0) throw corrupt(`The tokenizer's merge '${merge}' is no pair`)
  return [merge.slice(0, space), merge.slice(space + 1)]
}
