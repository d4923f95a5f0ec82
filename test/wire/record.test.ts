// What record() makes of a list of fields; the records of the wire are pinned by pinned.test.ts.
import { describe, expect, test } from 'bun:test'
import { toHex } from '../../src/base/bytes.ts'
import { protocolError, unsupported } from '../../src/base/errors.ts'
import { decodeMessage, encodeMessage } from '../../src/wire/codec/encode.ts'
import { anyNumber, stringUpTo } from '../../src/wire/codec/fields.ts'
import {
  bare,
  checked,
  checkedWhenRead,
  flag,
  mark,
  optional,
  record,
  versioned
} from '../../src/wire/codec/record.ts'

interface Sample {
  readonly first: number
  readonly second: number
  readonly text?: string
  readonly closed: boolean
  readonly fixed?: true
}

const fields = {
  first: anyNumber,
  second: anyNumber,
  text: optional(stringUpTo(8, 'the text')),
  closed: flag,
  fixed: mark
} as const

const codec = record<Sample>(fields)
const hexOf = (value: Sample): string => toHex(encodeMessage(codec, value))
const read = (...bytes: number[]): Sample => decodeMessage(codec, new Uint8Array(bytes))

describe('record()', () => {
  test('writes flags, plain fields, then optional fields with their lengths', () => {
    const all: Sample = { first: 1, second: 2, text: 'ab', closed: true, fixed: true }
    expect(hexOf(all)).toBe('070102030261620000')
    expect(hexOf({ first: 1, second: 2, closed: false })).toBe('000102')
  })

  test('reads a flag that is absent as false, and leaves out what else is absent', () => {
    expect(read(0, 1, 2)).toEqual({ first: 1, second: 2, closed: false })
    expect(Object.keys(read(0, 1, 2)).toSorted()).toEqual(['closed', 'first', 'second'])
    expect(read(6, 1, 2, 0, 0)).toEqual({ first: 1, second: 2, closed: true, fixed: true })
  })

  test('skips fields of unknown bits, and bytes behind a known field', () => {
    expect(read(0b1001, 1, 2, 4, 2, 97, 98, 9, 3, 7, 7, 7)).toEqual({
      first: 1,
      second: 2,
      text: 'ab',
      closed: false
    })
  })

  test('refuses unknown bits where nothing may be skipped, and writes no lengths there', () => {
    const strict = record<Sample>(fields, { strict: () => unsupported('newer') })
    const value: Sample = { first: 1, second: 2, text: 'ab', closed: true }
    expect(toHex(encodeMessage(strict, value))).toBe('030102026162')
    expect(decodeMessage(strict, encodeMessage(strict, value))).toMatchObject(value)
    expect(() => decodeMessage(strict, new Uint8Array([8, 1, 2, 0]))).toThrow('newer')
  })
})

test('bare() writes its fields and nothing else', () => {
  const pair = bare<{ a: number; b: number }>({ a: anyNumber, b: anyNumber })
  expect(toHex(encodeMessage(pair, { b: 2, a: 1 }))).toBe('0102')
  expect(decodeMessage(pair, new Uint8Array([1, 2]))).toEqual({ a: 1, b: 2 })
})

test('versioned() refuses another version', () => {
  const third = versioned(3, anyNumber, (version) => unsupported(`it is ${version}`))
  expect(toHex(encodeMessage(third, 9))).toBe('0309')
  expect(() => decodeMessage(third, new Uint8Array([4, 9]))).toThrow('it is 4')
})

test('checked() guards both directions, checkedWhenRead() what is read', () => {
  const even = (value: number): void => {
    if (value % 2 !== 0) throw protocolError('odd')
  }
  expect(() => encodeMessage(checked(anyNumber, even), 1)).toThrow('odd')
  expect(() => decodeMessage(checked(anyNumber, even), new Uint8Array([1]))).toThrow('odd')
  expect(toHex(encodeMessage(checkedWhenRead(anyNumber, even), 1))).toBe('01')
  expect(() => decodeMessage(checkedWhenRead(anyNumber, even), new Uint8Array([1]))).toThrow('odd')
})
