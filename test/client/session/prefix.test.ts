// Names of a text's beginnings: the same for the same text however it came to be, another for
// anything that would make other rows, and telling nothing to who has no key.
import { expect, test } from 'bun:test'
import { toHex } from '../../../src/base/bytes.ts'
import { seededRandom } from '../../../src/base/random.ts'
import { PrefixNaming } from '../../../src/client/session/prefix-naming.ts'
import {
  lineageOf,
  namedLengths,
  PrefixNames,
  type RoundingHop,
  type Place
} from '../../../src/client/session/prefix.ts'
import { LIMITS } from '../../../src/wire/protocol.ts'
import type { WireDtype } from '../../../src/wire/types.ts'

const MODEL = new Uint8Array(32).fill(7)
const KEY = new Uint8Array(32).fill(5)
const PLACE: Place = { peer: new Uint8Array(32).fill(1), start: 2, end: 4, lineage: '0:2 int8' }
const TEXT = Array.from({ length: 200 }, (_, i) => (i * 31) % 97)

function namesOf(
  ids: readonly number[],
  more: { key?: Uint8Array; model?: Uint8Array; dtype?: WireDtype } = {}
): PrefixNames {
  const names = new PrefixNames({ key: KEY, model: MODEL, dtype: 'f32', ...more })
  names.write(0, ids)
  return names
}

function label(names: PrefixNames, length: number, place: Place = PLACE): string {
  return toHex(names.mark(place, length).label)
}

test('namedLengths() lie at most a sixteenth apart and are few', () => {
  const all = namedLengths(1_048_576)
  expect([all.slice(0, 3), all.length <= LIMITS.marks]).toEqual([[16, 32, 48], true])
  for (const [i, length] of all.entries()) {
    const lost = (all[i + 1] ?? 0) - length
    if (length >= 256 && i + 1 < all.length) expect(lost / length).toBeLessThanOrEqual(1 / 16)
  }
  // A shorter text's lengths are a longer one's too, or nothing would ever be found again.
  expect(namedLengths(3000)).toEqual(all.filter((length) => length <= 3000))
})

test('a name is the same however the text was written, cut and written again', () => {
  const random = seededRandom(2)
  const whole = namesOf(TEXT)
  for (let round = 0; round < 50; round++) {
    const names = namesOf([])
    for (let right = 0; right < TEXT.length;) {
      names.write(right, [1, 2, 3, 4, 5].slice(random.below(5)))
      names.marks(PLACE, 0, names.length)
      const start = Math.max(0, right - random.below(24))
      right = Math.min(TEXT.length, start + 1 + random.below(60))
      names.write(start, TEXT.slice(start, right))
      if (random.below(2) === 0) names.marks(PLACE, 0, names.length)
    }
    const lengths = [16, 48, 131, 192, 200]
    expect(lengths.map((length) => label(names, length))).toEqual(
      lengths.map((length) => label(whole, length))
    )
  }
})

test('another id, key, model, dtype, server, range or lineage is another name', () => {
  const base = label(namesOf(TEXT), 192)
  const other = (index: number): number[] => TEXT.map((id, i) => (i === index ? id + 1 : id))
  const names = [
    label(namesOf(other(0)), 192),
    label(namesOf(other(191)), 192),
    label(namesOf(TEXT, { key: new Uint8Array(32).fill(6) }), 192),
    label(namesOf(TEXT, { model: new Uint8Array(32).fill(8) }), 192),
    label(namesOf(TEXT, { dtype: 'f16' }), 192),
    label(namesOf(TEXT), 192, { ...PLACE, peer: new Uint8Array(32).fill(2) }),
    label(namesOf(TEXT), 192, { ...PLACE, start: 1 }),
    label(namesOf(TEXT), 192, { ...PLACE, end: 5 }),
    label(namesOf(TEXT), 192, { ...PLACE, lineage: '0:2 f32' }),
    label(namesOf(TEXT), 191)
  ]
  expect([names.includes(base), new Set(names).size]).toEqual([false, names.length])
  // What comes behind does not matter.
  expect(label(namesOf(other(192)), 192)).toBe(base)
})

test('lineageOf() tells servers, blocks and quantisations apart', () => {
  const spans: RoundingHop[] = [
    { peer: 'aa', start: 0, end: 2, rounding: 'int8' },
    { peer: 'bb', start: 2, end: 4, rounding: 'int8' }
  ]
  const [a, b] = spans as [RoundingHop, RoundingHop]
  const others = [
    [],
    [a],
    [b],
    [a, { ...b, peer: 'cc' }],
    [a, { ...b, rounding: 'f32' }],
    [
      { ...a, end: 3 },
      { ...b, start: 3 }
    ]
  ]
  expect(new Set([spans, ...others].map(lineageOf)).size).toBe(7)
})

test('a span that was fed by two lineages has no names until its text begins anew', () => {
  const naming = new PrefixNaming({ secret: KEY, model: MODEL, dtype: 'f32' })
  const route = (rounding: string): RoundingHop[] => [
    { peer: 'aa', start: 0, end: 2, rounding },
    { peer: 'bb', start: 2, end: 4, rounding: 'f32' }
  ]
  const names = (): number => naming.ask(PLACE).length
  naming.write(0, TEXT)
  naming.settle(route('int8'), () => true)
  const before = names()
  naming.settle(route('f32'), (block) => block !== 2)
  const mixed = names()
  naming.write(0, TEXT)
  naming.settle(route('f32'), () => false)
  // 12 lengths, and the last three.
  expect([before, mixed, names()]).toEqual([15, 0, 15])
})

test('ask() of the longest text there is keeps within the limit, whatever stops its answers', () => {
  const naming = new PrefixNaming({ secret: KEY, model: MODEL, dtype: 'f32', stops: new Set([1]) })
  naming.write(
    0,
    Array.from({ length: 1_048_576 }, () => 1)
  )
  naming.settle([{ peer: 'bb', start: 2, end: 4, rounding: 'f32' }], () => true)
  const lengths = naming.ask(PLACE).map((mark) => mark.length)
  expect([lengths.length <= LIMITS.marks - 1, lengths.at(-32)]).toEqual([true, 1_048_576 - 31])
})

test('text whose ids are not told has no names from there on', () => {
  const naming = new PrefixNaming({ secret: KEY, model: MODEL, dtype: 'f32' })
  naming.write(0, TEXT.slice(0, 40))
  naming.settle([{ peer: 'bb', start: 2, end: 4, rounding: 'f32' }], () => true)
  naming.write(40, undefined)
  naming.write(41, TEXT)
  expect(naming.ask(PLACE).map((mark) => mark.length)).toEqual([16, 32, 38, 39, 40])
})
