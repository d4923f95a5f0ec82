// Patterns of tokenizers that would run for years over a word, and steps that would make a text of
// gigabytes, beside those that known tokenizers have.
import { expect, test } from 'bun:test'
import { isBoundedPattern } from '../../../src/model/text/bounded-pattern.ts'
import { PRE_TYPES } from '../../../src/model/text/pre-types.ts'
import { createTokenizer } from '../../../src/model/text/tokenizer.ts'
import type { TokenizerSpec } from '../../../src/model/types.ts'

const KNOWN = new Set([...PRE_TYPES.values()].flatMap(({ patterns }) => patterns))

test('isBoundedPattern() takes every pattern of the known tokenizers', () => {
  expect(KNOWN.size).toBeGreaterThan(20)
  for (const pattern of KNOWN) expect([pattern, isBoundedPattern(pattern)]).toEqual([pattern, true])
})

for (const pattern of [
  '\\s+',
  ' {2,}',
  '\\p{N}{1,3}',
  '(?:ab)+',
  '[^\\r\\n\\p{L}\\p{N}]?\\p{L}++',
  '(?i:[sdmt]|ll|ve|re)',
  '\\s+(?=\\S)'
]) {
  test(`isBoundedPattern() takes '${pattern}'`, () => {
    expect(isBoundedPattern(pattern)).toBe(true)
  })
}

for (const pattern of [
  '(a+)+$',
  '(a|a)*b',
  '(?:a|aa)+$',
  '(\\w|\\d)+!',
  '(?:\\p{L}\\p{M}*)+',
  'a*a*a*b',
  'a*b*c*d',
  '(?:a*)?(?:a*)?b',
  '(?:a*|b*)(?:a*|b*)c',
  '.*x',
  '[\\s\\S]*!',
  '[^x]*x',
  '[\\s\\p{L}]+!',
  '(a?){30}',
  'a?a?a?a?a?a?a?aaaaaaa',
  'a{1,3}a{1,3}a{1,3}a{1,3}b',
  '(a{0,15}){2}b',
  '(?=(a+)+)b',
  '(?<!a+)b',
  '(a)\\1',
  '(?<name>a)',
  '(a',
  'a)',
  '[a',
  '*a',
  'a'.repeat(5000)
]) {
  test(`isBoundedPattern() refuses '${pattern.slice(0, 30)}'`, () => {
    expect(isBoundedPattern(pattern)).toBe(false)
  })
}

const spec = (members: object): TokenizerSpec => ({
  json: {
    version: '1.0',
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    model: { type: 'BPE', vocab: { a: 0, b: 1, $: 2, '&': 3 }, merges: [], unk_token: null },
    ...members
  },
  config: {},
  bosId: undefined,
  eosIds: [],
  addBos: false
})
const replace = (pattern: object, content: string): object => ({
  type: 'Replace',
  pattern,
  content
})

test('a tokenizer that splits by a pattern without a bound is refused by the pattern', () => {
  const split = { type: 'Split', pattern: { Regex: '(a+)+b' }, behavior: 'Isolated' }
  const inSequence = { type: 'Sequence', pretokenizers: [split] }
  for (const members of [
    { pre_tokenizer: split },
    { pre_tokenizer: inSequence },
    { normalizer: replace({ Regex: '(a+)+b' }, '') },
    { decoder: replace({ Regex: '(a+)+b' }, '') }
  ]) {
    expect(() => createTokenizer(spec(members))).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED', message: expect.stringContaining('(a+)+b') })
    )
  }
})

test('a tokenizer whose steps make a text many times as long is refused', () => {
  const double = replace({ String: 'a' }, 'aa')
  for (const members of [
    { normalizer: { type: 'Sequence', normalizers: Array.from({ length: 5 }, () => double) } },
    { normalizer: replace({ String: 'a' }, 'a'.repeat(65)) },
    { normalizer: { type: 'Prepend', prepend: 'a'.repeat(65) } },
    { normalizer: replace({ Regex: 'b*' }, 'a'.repeat(16)) },
    { pre_tokenizer: { type: 'FixedLength', length: 0 } },
    { pre_tokenizer: { type: 'Sequence', pretokenizers: Array.from({ length: 99 }, () => double) } }
  ]) {
    expect(() => createTokenizer(spec(members))).toThrow(
      expect.objectContaining({ code: 'CORRUPT' })
    )
  }
})

test('what replaces a text is put as it stands', () => {
  const tokenizer = createTokenizer(spec({ normalizer: replace({ String: 'b' }, '$&') }))
  expect(tokenizer.encode('abb')).toEqual([0, 2, 3, 2, 3])
})
