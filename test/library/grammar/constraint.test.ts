// Answers under a constraint: drawn by chance from what the masks let through, every whole one is
// valid by another program's word.
import { describe, expect, setDefaultTimeout, test } from 'bun:test'
import Ajv from 'ajv/dist/2020'
import { seededRandom } from '../../../src/base/random.ts'
import type { LogitsProcessor } from '../../../src/client/text/logits.ts'
import { Constraints, type Constraint } from '../../../src/library/grammar/constraint.ts'
import { FORMATS } from '../../../src/library/grammar/json-schema.ts'

setDefaultTimeout(60_000)

/** A vocabulary of all bytes and of pieces that lie across what a grammar tells apart. */
const PIECES = [
  '{"',
  '":',
  '": ',
  '",',
  '", "',
  '"}',
  '": "',
  '[',
  ']',
  '],',
  ' [',
  'true',
  'false',
  'null',
  'tru',
  'name',
  'age',
  '12',
  '120',
  '-1',
  '0.5',
  '.5',
  'e1',
  'é',
  '日本',
  '\n  ',
  '  ',
  '\\"',
  '\\n',
  'yes',
  'no',
  'maybe',
  'ye',
  '2026-',
  '-03-',
  'a@b',
  '.com',
  '}}',
  '{}',
  '[]'
]
const EOS = 256 + PIECES.length
const VOCAB_SIZE = EOS + 1

/** As SentencePiece writes them. */
function vocabulary(): object {
  const vocab: Record<string, number> = {}
  for (let byte = 0; byte < 256; byte++) {
    vocab[`<0x${byte.toString(16).padStart(2, '0').toUpperCase()}>`] = byte
  }
  for (const [i, piece] of PIECES.entries()) vocab[piece.replaceAll(' ', '\u2581')] = 256 + i
  return {
    model: { vocab },
    decoder: { type: 'Sequence', decoders: [{ type: 'ByteFallback' }] },
    added_tokens: [{ id: EOS, content: '</s>', special: true }]
  }
}

const constraints = new Constraints({ json: vocabulary(), eosIds: [EOS] }, VOCAB_SIZE)

/** A text drawn from what the constraint lets through; undefined when it did not end in time. */
function draw(constraint: Constraint, seed: number, most = 400): string | undefined {
  const random = seededRandom(seed)
  const processor = constraints.compile(constraint).processor()
  const bytes: number[] = []
  for (let i = 0; i < most; i++) {
    const logits = Float32Array.from({ length: VOCAB_SIZE }, () => random.next())
    // What ends things is likely, or texts would be long.
    for (const piece of ['"', '}', ']', '"}', '],']) {
      const id = PIECES.includes(piece) ? 256 + PIECES.indexOf(piece) : piece.charCodeAt(0)
      logits[id] = (logits[id] ?? 0) + 0.5
    }
    logits[EOS] = 1.2
    const masked = processor.process(logits, [])
    let best = -1
    for (const [id, value] of masked.entries()) {
      if (value > (best < 0 ? -Infinity : (masked[best] ?? -Infinity))) best = id
    }
    expect(best).toBeGreaterThanOrEqual(0)
    if (best === EOS)
      return new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from(bytes))
    processor.drew?.(best, logits)
    if (best < 256) bytes.push(best)
    else bytes.push(...Buffer.from(PIECES[best - 256] ?? '', 'utf8'))
  }
  return undefined
}

const ajv = new Ajv({ strict: false })
for (const [name, pattern] of Object.entries(FORMATS))
  ajv.addFormat(name, new RegExp(`^(${pattern})$`))

const TREE = {
  type: 'object',
  properties: {
    value: { type: 'integer', minimum: -7, maximum: 130 },
    next: { anyOf: [{ $ref: '#' }, { type: 'null' }] }
  },
  required: ['value', 'next'],
  additionalProperties: false
}

const SCHEMAS: Record<string, object> = {
  'a strict object': {
    type: 'object',
    properties: { name: { type: 'string' }, age: { type: 'integer', minimum: 0, maximum: 120 } },
    required: ['name', 'age'],
    additionalProperties: false
  },
  'optional properties': {
    type: 'object',
    properties: { a: { type: 'boolean' }, b: { type: 'null' }, c: { type: 'integer' } },
    required: ['b']
  },
  'all optional': { type: 'object', properties: { a: { type: 'null' }, b: { type: 'null' } } },
  'a property that is only required': { type: 'object', properties: {}, required: ['x'] },
  'a map': {
    type: 'object',
    additionalProperties: { type: 'integer' },
    minProperties: 1,
    maxProperties: 3
  },
  'lists with bounds': { type: 'array', items: { type: 'number' }, minItems: 2, maxItems: 4 },
  tuples: { type: 'array', prefixItems: [{ type: 'string' }, { type: 'integer' }], items: false },
  'tuples with more': {
    type: 'array',
    prefixItems: [{ type: 'null' }],
    items: { type: 'boolean' },
    minItems: 2
  },
  'strings of a length': { type: 'string', minLength: 2, maxLength: 5 },
  'a pattern with ends': { type: 'string', pattern: '^[A-Z]{2}-\\d+$' },
  'enums of all kinds': { enum: ['a', 1, null, true, { a: [1] }, 'é"'] },
  'an enum of a type': { type: 'string', enum: ['a', 'b', 3] },
  constants: { const: { a: 'b' } },
  'whole numbers up to': { type: 'integer', maximum: -5 },
  'whole numbers from': { type: 'integer', exclusiveMinimum: 99 },
  'whole numbers between': { type: 'integer', minimum: 98, maximum: 1203 },
  'numbers between': { type: 'number', minimum: -1.25, maximum: 3.5 },
  'numbers strictly between': { type: 'number', exclusiveMinimum: 0, exclusiveMaximum: 1 },
  'numbers between close bounds': { type: 'number', exclusiveMinimum: 0.1, exclusiveMaximum: 0.11 },
  'whole numbers of 64 bits': { type: 'integer', minimum: -(2 ** 63), maximum: 2 ** 53 - 1 },
  'numbers with far bounds': { type: 'number', minimum: -1e15, maximum: 1e15 },
  'numbers that are small': { type: 'number', minimum: 0.001, maximum: 0.0015 },
  'several types': { type: ['string', 'null', 'integer'] },
  'one of, by type': { oneOf: [{ type: 'string' }, { type: 'number' }] },
  'one of, by a constant': {
    oneOf: [
      {
        type: 'object',
        properties: { kind: { const: 'a' }, x: { type: 'null' } },
        required: ['kind', 'x']
      },
      { type: 'object', properties: { kind: { const: 'b' } }, required: ['kind'] }
    ]
  },
  references: { $defs: { n: { type: 'integer' } }, type: 'array', items: { $ref: '#/$defs/n' } },
  'itself within itself': TREE,
  anything: {},
  ...Object.fromEntries(Object.keys(FORMATS).map((format) => [format, { type: 'string', format }]))
}

function accepts(constraint: Constraint, text: string): boolean {
  return constraints.compile(constraint).accepts(text)
}

test('patterns mean what JavaScript means by them, in strings too', () => {
  const patterns = [
    'a"b\\\\c',
    '^(yes|no)|maybe$',
    '^[^\\d\\s]+$',
    'x{2,3}?y*|z',
    '^(?<year>\\d{4})-[é-ü\\u{1F600}-\\u{1F64F}]$',
    '^\\t[\\w.-]+\\n$',
    '^2026-[\\ud83d\\ude00-\\ud83d\\ude4f]$',
    '\\uD83D\\uDE00',
    '^$'
  ]
  const texts = [
    'a"b\\c',
    '-a"b\\c-',
    'yes',
    'yesterday',
    'no',
    'a maybe',
    'maybe a',
    'xx',
    'xxyy',
    '+xxxx',
    'z',
    '2026-é',
    '2026-😀',
    '2026-x',
    '\ta.b\n',
    'tab',
    '',
    'ab\u0001'
  ]
  for (const pattern of patterns) {
    const schema = { type: 'string', pattern }
    for (const text of texts) {
      const isMatch = new RegExp(pattern, 'u').test(text)
      const held = accepts({ kind: 'schema', schema }, JSON.stringify(text))
      expect({ pattern, text, held }).toEqual({ pattern, text, held: isMatch })
      const whole = new RegExp(`^(?:${pattern})$`, 'u').test(text)
      if (!/[|]/.test(pattern)) {
        expect({ pattern, text, held: accepts({ kind: 'regex', pattern }, text) }).toEqual({
          pattern,
          text,
          held: whole
        })
      }
    }
  }
})

describe('texts under a schema are valid', () => {
  test.each(Object.entries(SCHEMAS))('%s', (_, schema) => {
    const validate = ajv.compile(schema)
    let whole = 0
    const texts = new Set<string>()
    for (let seed = 0; seed < 60; seed++) {
      const text = draw({ kind: 'schema', schema }, seed)
      if (text === undefined) continue
      whole++
      texts.add(text)
      const value = JSON.parse(text) as unknown
      expect({ text, valid: validate(value) }).toEqual({ text, valid: true })
    }
    expect(whole).toBeGreaterThan(20)
    if (!('const' in schema)) expect(texts.size).toBeGreaterThan(1)
  })
})

test('JSON objects, patterns and choices hold', () => {
  for (let seed = 0; seed < 60; seed++) {
    const json = draw({ kind: 'json' }, seed)
    if (json !== undefined) expect(JSON.parse(json)).toBeInstanceOf(Object)
    const pattern = '(\\w+|日本)[^a-z]?\\.[0-9a-f]{2,4}(?:x|yy)*'
    const match = draw({ kind: 'regex', pattern }, seed)
    if (match !== undefined) expect(match).toMatch(new RegExp(`^(${pattern})$`, 'u'))
    const choices = ['yes', 'no', 'maybe not', 'yesterday']
    expect(choices).toContain(draw({ kind: 'choice', choices }, seed) ?? '')
  }
})

test('what a constraint cannot end but by the stop token ends there', () => {
  const processor = constraints.compile({ kind: 'choice', choices: ['no'] }).processor('no')
  const masked = processor.process(new Float32Array(VOCAB_SIZE), [])
  expect([...masked.entries()].filter(([, value]) => value > -Infinity).map(([id]) => id)).toEqual([
    EOS
  ])
})

test('an answer that was begun goes on where it was', () => {
  const schema = SCHEMAS['a strict object']!
  const processor = constraints.compile({ kind: 'schema', schema }).processor('{"name":')
  const masked = processor.process(new Float32Array(VOCAB_SIZE), [])
  expect(masked['"'.charCodeAt(0)]).toBe(0)
  expect(masked['1'.charCodeAt(0)]).toBe(-Infinity)
})

describe('what cannot be held is refused by name', () => {
  test.each([
    [{ type: 'string', not: { const: 'a' } }, "'not'"],
    [{ type: 'array', uniqueItems: true }, "'uniqueItems'"],
    [{ type: 'number', multipleOf: 0.5 }, "'multipleOf'"],
    [{ type: 'object', patternProperties: { a: {} } }, "'patternProperties'"],
    [{ if: {} }, "'if'"],
    [{ allOf: [{ type: 'string' }, { minLength: 2 }] }, "'allOf'"],
    [{ oneOf: [{ type: 'integer' }, { type: 'number' }] }, "'oneOf'"],
    [{ type: 'string', format: 'hostname' }, 'hostname'],
    [{ type: 'string', pattern: '(?=a)b' }, 'look around'],
    [{ type: 'string', pattern: '\\bfoo' }, '\\b'],
    [{ type: 'string', pattern: '(a)\\1' }, '\\1'],
    [{ type: 'string', pattern: '[' }, 'none'],
    [{ type: 'string', pattern: 'a', minLength: 3 }, 'length'],
    [{ $ref: 'https://example.com/s.json' }, 'elsewhere'],
    [{ $ref: '#/nowhere' }, 'not there'],
    [{ $defs: { a: { $anchor: 'a', type: 'null' } }, $ref: '#a' }, 'elsewhere'],
    [{ $ref: '#/%' }, 'no path'],
    [{ $defs: { a: { $id: '/a', $ref: '#/$defs/b' }, b: {} }, $ref: '#/$defs/a' }, "'$id'"],
    [{ type: 'string', format: 'constructor' }, 'constructor'],
    [{ type: 'object', properties: JSON.parse('{"__proto__":{}}') as object }, "'__proto__'"],
    [{ oneOf: [{ const: { a: 1, b: 2 } }, { const: { b: 2, a: 1 } }] }, "'oneOf'"],
    [{ type: 'integer', minimum: 1e15 }, "'minimum'"],
    [{ type: 'number', exclusiveMaximum: -1e15 }, "'exclusiveMaximum'"],
    [{ type: 'thing' }, 'thing'],
    [{ type: 'integer', minimum: 5, maximum: 4 }, 'No whole number'],
    [{ type: 'object', required: ['a'], additionalProperties: false }, "'a'"],
    [{ type: 'string', maxLength: 1e9 }, 'maxLength'],
    [{ $ref: '#' }, 'end'],
    ['a text', 'no schema'],
    [false, 'nothing']
  ])('%j', (schema, word) => {
    expect(() => constraints.compile({ kind: 'schema', schema })).toThrow(word)
  })

  test('what would grow without measure', () => {
    const deep = Array.from({ length: 100 }).reduce(
      (inner) => ({ type: 'array', items: inner }),
      {}
    )
    expect(() => constraints.compile({ kind: 'schema', schema: deep })).toThrow('levels')
    const huge = { kind: 'regex', pattern: '((a{1000}){1000}){1000}' } as const
    expect(() => constraints.compile(huge)).toThrow('too large')
    expect(() => constraints.compile({ kind: 'choice', choices: [] })).toThrow('choices')
  })

  test.each(['(.?){1500}', '([a-m]?.?[n-z]?){1000}'])(
    'what can be read in ever more ways: %s',
    (pattern) => {
      const logits = new Float32Array(VOCAB_SIZE)
      const begin = (): LogitsProcessor =>
        constraints.compile({ kind: 'regex', pattern }).processor()
      const hold = (processor: LogitsProcessor, tokens: number): void => {
        for (let i = 0; i < tokens; i++) {
          processor.process(logits, [])
          processor.drew?.(97 + (i % 26), logits)
        }
      }
      expect(() => hold(begin(), 500)).toThrow('too many ways')
      expect(draw({ kind: 'choice', choices: ['no'] }, 1)).toBe('no')
    }
  )
})
