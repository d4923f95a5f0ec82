// Every tensor type against values that gguf-py made of the same bytes.
import { expect, test } from 'bun:test'
import { dequantise, dequantiseRows } from '../../../src/model/formats/dequantise.ts'
import { TYPE_FACTS } from '../../../src/model/formats/tensor-types.ts'
import type { TensorType } from '../../../src/model/types.ts'
import fixture from '../../fixtures/dequantise.json'

const TYPES = Object.keys(TYPE_FACTS) as TensorType[]

function vectors(type: TensorType): { bytes: Uint8Array; values: Float32Array } {
  const { bytes, values } = fixture.types[type]
  return {
    bytes: new Uint8Array(Buffer.from(bytes, 'base64')),
    values: new Float32Array(new Uint8Array(Buffer.from(values, 'base64')).buffer)
  }
}

function worstDifference(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Infinity
  return a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i]!)), 0)
}

for (const type of TYPES) {
  test(`dequantise() gives gguf-py's values for ${type}, to the bit`, () => {
    const { bytes, values } = vectors(type)
    expect(worstDifference(dequantise(type, bytes), values)).toBe(0)
  })
}

test('dequantise() reads bytes that are aligned to nothing', () => {
  for (const type of TYPES) {
    const { bytes, values } = vectors(type)
    // A Buffer, whose slice() is no copy.
    const shifted = Buffer.alloc(bytes.byteLength + 1)
    shifted.set(bytes, 1)
    expect(worstDifference(dequantise(type, shifted.subarray(1)), values)).toBe(0)
  }
})

test('dequantise() writes at an offset and leaves the rest alone', () => {
  const { bytes, values } = vectors('Q4_1')
  const out = new Float32Array(values.length + 64).fill(7)
  dequantise('Q4_1', bytes, out, 32)
  expect(out.subarray(0, 32).every((value) => value === 7)).toBe(true)
  expect(worstDifference(out.subarray(32, 32 + values.length), values)).toBe(0)
  expect(out.subarray(32 + values.length).every((value) => value === 7)).toBe(true)
})

test('dequantiseRows() takes rows from the middle', () => {
  const { bytes, values } = vectors('Q8_0')
  expect(dequantiseRows('Q8_0', bytes, 32, 1, 2)).toEqual(values.subarray(32, 96))
})

test('dequantise() refuses half a block and an output that is too small', () => {
  expect(() => dequantise('Q4_0', new Uint8Array(19))).toThrow(RangeError)
  expect(() => dequantise('Q4_0', new Uint8Array(18), new Float32Array(31))).toThrow(RangeError)
  expect(() => dequantiseRows('F32', new Uint8Array(16), 2, 1, 2)).toThrow(RangeError)
})
