// Sets of code points, and the bytes of UTF-8 that stand for them.
import type { Fragment, GrammarBuilder } from './grammar.ts'

/** First and last, both included. */
export type CodeRange = readonly [number, number]

export const LAST_CODE_POINT = 0x10ffff
/** Halves of pairs, which are no characters. */
const SURROGATES: CodeRange = [0xd800, 0xdfff]

/** In order, apart, and without surrogates. */
export function normalised(ranges: readonly CodeRange[]): CodeRange[] {
  const sorted = ranges
    .flatMap((range) => without(range, SURROGATES))
    .toSorted((a, b) => a[0] - b[0])
  const merged: [number, number][] = []
  for (const [first, last] of sorted) {
    const end = merged.at(-1)
    if (end && first <= end[1] + 1) end[1] = Math.max(end[1], last)
    else merged.push([first, last])
  }
  return merged
}

/** Every character that is not in the ranges. */
export function complement(ranges: readonly CodeRange[]): CodeRange[] {
  const gaps: CodeRange[] = []
  let next = 0
  for (const [first, last] of normalised(ranges)) {
    if (first > next) gaps.push([next, first - 1])
    next = last + 1
  }
  if (next <= LAST_CODE_POINT) gaps.push([next, LAST_CODE_POINT])
  return normalised(gaps)
}

export function intersect(a: readonly CodeRange[], b: readonly CodeRange[]): CodeRange[] {
  return complement([...complement(a), ...complement(b)])
}

function without([first, last]: CodeRange, [low, high]: CodeRange): CodeRange[] {
  const parts: CodeRange[] = []
  if (first < low) parts.push([first, Math.min(last, low - 1)])
  if (last > high) parts.push([Math.max(first, high + 1), last])
  return parts.filter(([from, to]) => from <= to)
}

/** One character of the ranges, in UTF-8. The ranges must not be empty. */
export function characters(builder: GrammarBuilder, ranges: readonly CodeRange[]): Fragment {
  const [start, end] = [builder.node(), builder.node()]
  for (const range of normalised(ranges)) {
    for (const sequence of byteSequences(range)) {
      let from = start
      for (const [i, [first, last]] of sequence.entries()) {
        const to = i === sequence.length - 1 ? end : builder.node()
        builder.edge(from, { kind: 'bytes', first, last, to })
        from = to
      }
    }
  }
  return { start, end }
}

type ByteRange = readonly [number, number]

/** Where the number of bytes of a character grows. */
const LENGTHS: readonly number[] = [0x7f, 0x7ff, 0xffff, LAST_CODE_POINT]

/** The range as sequences of byte ranges, each of which stands for all its combinations. */
function byteSequences([first, last]: CodeRange): ByteRange[][] {
  for (const most of LENGTHS) {
    if (first <= most && most < last) {
      return [...byteSequences([first, most]), ...byteSequences([most + 1, last])]
    }
  }
  if (last <= 0x7f) return [[[first, last]]]
  // Cut where the bytes behind the first that differs are not all of 0x80 to 0xbf.
  for (let i = 1; i < 4; i++) {
    const mask = (1 << (6 * i)) - 1
    if ((first & ~mask) === (last & ~mask)) break
    if ((first & mask) !== 0) {
      return [...byteSequences([first, first | mask]), ...byteSequences([(first | mask) + 1, last])]
    }
    if ((last & mask) !== mask) {
      return [...byteSequences([first, (last & ~mask) - 1]), ...byteSequences([last & ~mask, last])]
    }
  }
  const [low, high] = [first, last].map((point) => [...Buffer.from(String.fromCodePoint(point))])
  return [(low ?? []).map((byte, i): ByteRange => [byte, high?.[i] ?? byte])]
}
