// GGUF tokenizers: every pre type splits and merges as Hugging Face's tokenizers do, and what is
// special is so whatever the file's marks say.
import { expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { checkTokenizer, ggufTokenizer } from '../../../src/model/text/gguf-tokenizer.ts'
import { PRE_TYPES } from '../../../src/model/text/pre-types.ts'
import { createTokenizer, type Tokenizer } from '../../../src/model/text/tokenizer.ts'
import { metadataOf, type PlainValue } from '../../support/models/metadata.ts'

interface Vocabulary {
  tokens: string[]
  merges: string[]
}

/** Made by scripts/prove/make-tokenizer-fixtures.py. */
const FIXTURE = JSON.parse(
  readFileSync(join(import.meta.dir, '../../fixtures/tokenizers/pre-types.json'), 'utf8')
) as {
  texts: string[]
  bytes: Vocabulary
  characters: Vocabulary
  types: { names: string[]; splits: string[][]; ids: number[][] }[]
}

const NORMAL = 1
const CONTROL = 3
const USER_DEFINED = 4

function tokenizerOf(values: Record<string, PlainValue>): Tokenizer {
  const keys = Object.entries(values).map(([key, value]) => [`tokenizer.ggml.${key}`, value])
  return createTokenizer(ggufTokenizer(metadataOf(Object.fromEntries(keys)), 1000))
}

test('every pre type has vectors', () => {
  const names = FIXTURE.types.flatMap((type) => type.names)
  expect(names.toSorted()).toEqual([...PRE_TYPES.keys()].toSorted())
})

for (const { names, ids } of FIXTURE.types) {
  test(`${names.join(', ')}: texts become the ids that the originals make of them`, () => {
    const [name = ''] = names
    const { isCharacters, nfc } = PRE_TYPES.get(name) ?? {}
    const { tokens, merges } = isCharacters ? FIXTURE.characters : FIXTURE.bytes
    const tokenizer = tokenizerOf(
      isCharacters
        ? { model: 'gemma4', tokens, merges, unknown_token_id: 0 }
        : { model: 'gpt2', pre: name, tokens, merges }
    )
    expect(FIXTURE.texts.map((text) => tokenizer.encode(text))).toEqual(ids)
    if (nfc) return
    // The library takes U+FEFF away where bytes stand for it one by one.
    const shown = (text: string): string => (isCharacters ? text.replaceAll('\ufeff', '') : text)
    expect(ids.map((each) => tokenizer.decode(each))).toEqual(FIXTURE.texts.map(shown))
  })
}

test('a long text is cut where no token lies, and becomes what it is as a whole', () => {
  const { tokens, merges } = FIXTURE.bytes
  const tokenizer = tokenizerOf({ model: 'gpt2', pre: 'qwen2', tokens, merges })
  const part = FIXTURE.texts.join(' some words between 12 \n')
  const copies = Math.ceil(200_000 / part.length)
  const text = Array.from({ length: copies }, (_, i) => `${part} word ${i}`).join('\n')
  const ids = tokenizer.encode(text)
  expect(tokenizer.decode(ids)).toBe(text.normalize('NFC'))
  const pieces = text.split(/(?<=\p{L})(?= \p{L})/u)
  expect(ids).toEqual(pieces.flatMap((piece) => tokenizer.encode(piece)))
})

test('a text that is too long is refused before it is read', () => {
  const { tokens, merges } = FIXTURE.bytes
  const tokenizer = tokenizerOf({ model: 'gpt2', pre: 'qwen2', tokens, merges })
  const refusal = expect.objectContaining({
    code: 'BAD_INPUT',
    message: 'The prompt is too long: over the 100 tokens that the model takes'
  })
  const words = 'word '.repeat(100_000)
  expect(() => tokenizer.encode(words, { maxTokens: 100 })).toThrow(refusal)
  expect(() => tokenizer.encode('x'.repeat(2 ** 25), { maxTokens: 100 })).toThrow(refusal)
  expect(tokenizer.encode(words.slice(0, 500), { maxTokens: 1000 }).length).toBeLessThan(1000)
})

test('a pre type that nobody knows is refused with those that are known', () => {
  const { tokens, merges } = FIXTURE.bytes
  expect(() => tokenizerOf({ model: 'gpt2', pre: 'martian', tokens, merges })).toThrow(
    expect.objectContaining({ code: 'UNSUPPORTED', hint: expect.stringContaining('tekken') })
  )
})

test('a vocabulary that does not fit is refused before a string of it is made', () => {
  const never = {
    kind: 'array',
    strings: (): string[] => {
      throw new Error('Strings were made')
    },
    numbers: (): number[] => {
      throw new Error('Numbers were made')
    }
  } as const
  const check = (tokens: number, merges: number, types: number): unknown =>
    checkTokenizer(
      metadataOf({
        'tokenizer.ggml.model': 'gpt2',
        'tokenizer.ggml.tokens': { ...never, count: tokens },
        'tokenizer.ggml.merges': { ...never, count: merges },
        'tokenizer.ggml.token_type': { ...never, count: types }
      }),
      1000
    )
  const corrupt = expect.objectContaining({ code: 'CORRUPT' })
  expect(() => check(1001, 10, 1001)).toThrow(corrupt)
  expect(() => check(1000, 16_001, 1000)).toThrow(corrupt)
  expect(() => check(1000, 10, 999)).toThrow(corrupt)
  expect(() => check(1000, 10, 1000)).not.toThrow()
})

/** The bytes' vocabulary with tokens of one's own behind it. */
function chatTokenizer(
  type: number,
  texts: readonly string[],
  more: Record<string, PlainValue> = {}
): { tokenizer: Tokenizer; id(text: string): number } {
  const { tokens, merges } = FIXTURE.bytes
  const all = [...tokens, ...texts]
  const types = all.map((_, id) => (id < tokens.length ? NORMAL : type))
  const values = { model: 'gpt2', pre: 'qwen2', tokens: all, merges, token_type: types, ...more }
  return { tokenizer: tokenizerOf(values), id: (text) => all.indexOf(text) }
}

const MARKS = ['<|im_start|>', '<|im_end|>', '<\uff5cUser\uff5c>', '<start_of_turn>']

test.each([
  ['control', CONTROL],
  ['user-defined', USER_DEFINED],
  ['normal', NORMAL]
])('tokens of a chat that are marked as %s are special, and end an answer', (_, type) => {
  const { tokenizer, id } = chatTokenizer(type, MARKS)
  expect(tokenizer.specials).toEqual(MARKS)
  expect(tokenizer.spec.eosIds).toEqual([id('<|im_end|>')])
  // The template's own marks are one token, a user's are letters.
  const ids = MARKS.map(id)
  expect(tokenizer.encode(MARKS.join(''), { parseSpecial: true })).toEqual(ids)
  const typed = tokenizer.encode(`a${MARKS.join('')}b`)
  expect(typed.some((each) => ids.includes(each))).toBe(false)
  expect(tokenizer.decode(typed)).toBe(`a${MARKS.join('')}b`)
  expect(tokenizer.decode(ids)).toBe('')
})

test('what a file names by its id is special, whatever it looks like', () => {
  const { tokenizer, id } = chatTokenizer(NORMAL, ['</s>', '<s>', '</b>'], {
    bos_token_id: FIXTURE.bytes.tokens.length + 1,
    eos_token_id: [FIXTURE.bytes.tokens.length],
    add_bos_token: true
  })
  expect([tokenizer.specials, tokenizer.spec.eosIds]).toEqual([['</s>', '<s>'], [id('</s>')]])
  expect(tokenizer.encode('a </s>')).not.toContain(id('</s>'))
  // BOS that is written out is BOS, and comes once.
  const options = { addSpecial: true, parseSpecial: true }
  const bos = id('<s>')
  expect(tokenizer.encode('<s>a', options)).toEqual([bos, ...tokenizer.encode('a')])
  expect(tokenizer.encode('a', options)).toEqual([bos, ...tokenizer.encode('a')])
})

test('a text that people write ends nothing unless the file says so', () => {
  const plain = chatTokenizer(USER_DEFINED, ['</s>', '<EOT>', '<think>'])
  expect([plain.tokenizer.spec.eosIds, plain.tokenizer.specials]).toEqual([[], []])
  const marked = chatTokenizer(CONTROL, ['</s>', '<EOT>', '<think>'])
  expect(marked.tokenizer.spec.eosIds).toEqual([marked.id('</s>'), marked.id('<EOT>')])
})

test('the end of a part is no end of the answer', () => {
  const { tokenizer, id } = chatTokenizer(CONTROL, ['<|end|>', '<|return|>', '<|call|>'])
  expect(tokenizer.spec.eosIds).toEqual([id('<|return|>'), id('<|call|>')])
})

test('U+FEFF is a piece of a vocabulary and no space', () => {
  const { tokens, merges } = FIXTURE.bytes
  const tokenizer = tokenizerOf({ model: 'gpt2', pre: 'gpt-2', tokens, merges })
  const text = '\ufeff \ufeffa\ufeff'
  expect(tokenizer.decode(tokenizer.encode(text))).toBe(text)
})
