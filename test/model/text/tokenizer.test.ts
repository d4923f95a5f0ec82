// Reference vectors of SmolLM2, and what must hold for every text and every stream of ids.
import { expect, test } from 'bun:test'
import { seededRandom } from '../../../src/base/random.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { byteLevelJson } from '../../../src/model/text/byte-level.ts'
import { cutPlace, openLibrary } from '../../../src/model/text/library.ts'
import { createTokenizer, type Tokenizer } from '../../../src/model/text/tokenizer.ts'
import type { TokenizerSpec } from '../../../src/model/types.ts'
import reference from '../../fixtures/smollm2.json'
import { encodeReference, readPieces } from '../../support/models/sentencepiece-reference.ts'
import { smollm2Location } from '../../support/models/smollm2.ts'
import { storiesLocation } from '../../support/models/stories.ts'

async function smollm2(): Promise<Tokenizer> {
  return createTokenizer((await openModel(await smollm2Location())).tokenizer)
}

async function stories(): Promise<Tokenizer> {
  return createTokenizer((await openModel(storiesLocation)).tokenizer)
}

for (const [index, { text, ids, idsNoSpecial }] of reference.tokenizer.entries()) {
  test(`vector ${index}, ${JSON.stringify(text.slice(0, 24))}, encodes as the reference has it`, async () => {
    const tokenizer = await smollm2()
    expect(tokenizer.encode(text, { parseSpecial: true, addSpecial: true })).toEqual(ids)
    expect(tokenizer.encode(text)).toEqual(idsNoSpecial)
  })
}

for (const prompt of reference.prompts) {
  test(`prompt '${prompt.name}' encodes and its answer decodes as the reference has it`, async () => {
    const tokenizer = await smollm2()
    const text = prompt.rendered ?? prompt.text ?? ''
    expect(tokenizer.encode(text, { parseSpecial: true, addSpecial: true })).toEqual(
      prompt.promptIds
    )
    expect(tokenizer.decode(prompt.f32Ids)).toBe(prompt.f32Text)
    const stream = tokenizer.stream({ after: prompt.promptIds })
    expect(prompt.f32Ids.map((id) => stream.push(id)).join('') + stream.end()).toBe(prompt.f32Text)
  })
}

test('no text makes a special token unless special tokens are asked for', async () => {
  for (const tokenizer of [await smollm2(), await stories()]) {
    const special = new Set(
      tokenizer.specials.map((text) => tokenizer.encode(text, { parseSpecial: true })[0])
    )
    expect(special.size).toBe(tokenizer.specials.length)
    for (const text of [
      ...tokenizer.specials,
      tokenizer.specials.join(''),
      'x<s>y</s>z<unk><0x0A>'
    ]) {
      expect(tokenizer.encode(text).filter((id) => special.has(id))).toEqual([])
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text)
    }
  }
})

test('a byte token is made by its byte and never by its name', async () => {
  const tokenizer = await stories()
  expect(tokenizer.encode('a\u0000')).toContain(3)
  expect(tokenizer.encode('a<0x00>')).not.toContain(3)
})

test('4,000 texts encode as llama2.c encodes them', async () => {
  const tokenizer = await stories()
  const pieces = readPieces(storiesLocation.paths[1]!)
  const known = [...pieces.scores.keys()]
  const random = seededRandom(99)
  const strange = ['é', '你', '\n', 'aaa', 'ee', ' ', '  ', 'Z', '9']
  const pick = (list: readonly string[]): string => list[random.below(list.length)]!
  for (let round = 0; round < 4000; round++) {
    const length = random.below(20)
    const text = Array.from({ length }, () =>
      random.below(6) === 0 ? pick(strange) : pick(known)
    ).join('')
    const ids = encodeReference(pieces, text)
    expect({ round, text, ids: tokenizer.encode(text) }).toEqual({ round, text, ids })
  }
})

test('text and back is the same text where the vocabulary has all bytes', async () => {
  const tokenizer = await stories()
  const random = seededRandom(20260801)
  const alphabet = ['a', 'e', ' ', '\n', 'Lily', 'é', '你', '🍕', '\u0000', '0', "'s", '  ']
  for (let round = 0; round < 300; round++) {
    const text = Array.from(
      { length: random.below(24) },
      () => alphabet[random.below(alphabet.length)]
    ).join('')
    expect({ round, text: tokenizer.decode(tokenizer.encode(text)) }).toEqual({ round, text })
  }
})

for (const [name, open] of [
  ['byte-level', smollm2],
  ['SentencePiece', stories]
] as const) {
  test(`a ${name} stream gives in parts what decode() gives at once, whatever the ids`, async () => {
    const tokenizer = await open()
    const random = seededRandom(7)
    const size = name === 'byte-level' ? 49_152 : 512
    for (let round = 0; round < 200; round++) {
      // Low ids are mostly single bytes, which make and break characters.
      const bound = round % 2 === 0 ? size : 300
      const ids = Array.from({ length: random.below(60) }, () => random.below(bound))
      const stream = tokenizer.stream()
      const parts = ids.map((id) => stream.push(id))
      expect({ round, text: parts.join('') + stream.end() }).toEqual({
        round,
        text: tokenizer.decode(ids)
      })
    }
  })
}

test('a stream goes on from what came before: a space stays where a text continues', async () => {
  const tokenizer = await stories()
  const prompt = tokenizer.encode('Once', { addSpecial: true })
  const [next] = tokenizer.encode('upon')
  expect(tokenizer.stream({ after: prompt }).push(next!)).toBe(' upon')
  expect(tokenizer.stream({ after: [1] }).push(next!)).toBe('upon')
  expect(tokenizer.stream().push(next!)).toBe('upon')
})

test('a stream never gives out half a character', async () => {
  const tokenizer = await smollm2()
  const ids = tokenizer.encode('👩‍👩‍👧‍👦🍕你好 é')
  const stream = tokenizer.stream()
  const parts = ids.map((id) => stream.push(id))
  expect(parts.filter((part) => part.includes('\uFFFD'))).toEqual([])
  expect(parts.some((part) => part === '')).toBe(true)
  expect(stream.end()).toBe('')
})

test('a stream that ends within a character says so once', async () => {
  const tokenizer = await smollm2()
  const [first] = tokenizer.encode('🍕')
  const stream = tokenizer.stream()
  expect([stream.push(first!), stream.end()]).toEqual(['', '\uFFFD'])
})

// Decoding all of it again for each id would take minutes, and the test would run out of time.
test('a stream holds no more than a window of ids', async () => {
  const tokenizer = await stories()
  const stream = tokenizer.stream()
  const ids = Array.from({ length: 20_000 }, (_, i) => (i % 3 === 0 ? 3 + 0xff : 403))
  const text = ids.map((id) => stream.push(id)).join('') + stream.end()
  expect(text).toBe(tokenizer.decode(ids))
})

test('decode() leaves out special tokens and ids without a text', async () => {
  const tokenizer = await smollm2()
  expect(tokenizer.decode([1, 504, 2])).toBe('The')
  expect(tokenizer.decode([1, 504, 2], { skipSpecial: false })).toBe('<|im_start|>The<|im_end|>')
  expect(tokenizer.decode([])).toBe('')
  expect(tokenizer.decode([99_999_999, 504])).toBe('The')
  expect(() => tokenizer.decode([-1])).toThrow(expect.objectContaining({ code: 'BAD_INPUT' }))
})

test('half a surrogate pair is read as the replacement character', async () => {
  const tokenizer = await stories()
  expect(tokenizer.decode(tokenizer.encode('a\uD800b'))).toBe('a\uFFFDb')
})

test('createTokenizer() refuses a description that makes no sense', () => {
  const spec = { config: {}, bosId: undefined, eosIds: [], addBos: false }
  for (const json of [
    {},
    { model: null },
    { model: { type: 'BPE' } },
    { model: { type: 'Nonsense', vocab: 5 } }
  ]) {
    expect(() => createTokenizer({ ...spec, json } as TokenizerSpec).encode('a')).toThrow(
      expect.objectContaining({ code: 'CORRUPT' })
    )
  }
})

test('a token may be called like a member of Object', async () => {
  const { vocabOf } = await import('../../../src/model/text/vocab.ts')
  const vocab = vocabOf(['__proto__', 'constructor', 'a', 'a'])
  expect(Object.entries(vocab)).toEqual([
    ['__proto__', 0],
    ['constructor', 1],
    ['a', 2]
  ])
})

test('decode() shows the special tokens that it is told to, and no others', async () => {
  const tokenizer = await smollm2()
  const ids = tokenizer.encode('<|im_start|>a<file_sep>b<|im_end|>', { parseSpecial: true })
  expect(tokenizer.decode(ids, { shown: ['<file_sep>'] })).toBe('a<file_sep>b')
  const stream = tokenizer.stream({ shown: ['<file_sep>'] })
  expect(ids.map((id) => stream.push(id)).join('') + stream.end()).toBe('a<file_sep>b')
})

/** Bytes as letters, and some tokens more. */
function byteLevel(...more: readonly string[]): object {
  const letters = Array.from({ length: 512 }, (_, code) => String.fromCharCode(code))
  const pre = { patterns: [' ?\\p{L}+| ?[^\\s\\p{L}]+|\\s+(?!\\S)|\\s+'] }
  return {
    added_tokens: [],
    post_processor: null,
    ...byteLevelJson([...letters, ...more], [], pre)
  }
}

test('texts are cut unless a token lies over words, whatever spaces it is made of', () => {
  const cutOf = (...more: readonly string[]): unknown => {
    const json = byteLevel(...more)
    return cutPlace(openLibrary(json, {}), json)?.at
  }
  const noBreak = '\u0120\u00c2\u0142'
  expect([cutOf(), cutOf(noBreak + noBreak, '\u010a\u0120\u0120')]).toEqual(['line', 'line'])
  expect([cutOf('a\u0120b'), cutOf('a\u010ab')]).toEqual([undefined, undefined])
})

test('a long text that cannot be cut is refused all the same when it is too long', () => {
  const json = byteLevel('a\u0120b')
  const tokenizer = createTokenizer({
    json,
    config: {},
    bosId: undefined,
    eosIds: [],
    addBos: false
  })
  expect(tokenizer.encode('ab '.repeat(30_000), { maxTokens: 100_000 })).toHaveLength(90_000)
  expect(() => tokenizer.encode('ab '.repeat(60_000), { maxTokens: 64_000 })).toThrow(
    expect.objectContaining({ code: 'BAD_INPUT' })
  )
})
