// Activations through each wire type: how exact they come back, and what is refused.
import { describe, expect, test } from 'bun:test'
import { AppError } from '../../src/base/errors.ts'
import { seededRandom } from '../../src/base/random.ts'
import { decodeTensor, encodeTensor, rowBytes, sliceRows } from '../../src/wire/tensor.ts'
import type { WireDtype, WireTensor } from '../../src/wire/types.ts'

const DTYPES: readonly WireDtype[] = ['f32', 'f16', 'bf16', 'int8']

function activations(count: number, seed: number): Float32Array {
  const random = seededRandom(seed)
  return Float32Array.from({ length: count }, () => (random.next() - 0.5) * 10)
}

function codeOf(call: () => unknown): string {
  try {
    call()
    return 'nothing'
  } catch (error) {
    return error instanceof AppError ? error.code : 'a thing that is no AppError'
  }
}

/** The tensor at an odd place of a larger Buffer, as in a frame. */
function inFrame(tensor: WireTensor): WireTensor {
  const frame = Buffer.alloc(tensor.data.byteLength + 3)
  frame.set(tensor.data, 3)
  return { ...tensor, data: frame.subarray(3) }
}

describe('encodeTensor() and decodeTensor()', () => {
  test('carry f32 bit for bit', () => {
    const values = activations(3 * 100, 1)
    const tensor = inFrame(encodeTensor(values, 3, 100, 'f32'))
    expect(decodeTensor(tensor)).toEqual(values)
  })

  test('round f16 as the platform does', () => {
    const values = activations(2 * 65, 2)
    const tensor = inFrame(encodeTensor(values, 2, 65, 'f16'))
    expect(decodeTensor(tensor)).toEqual(new Float32Array(new Float16Array(values)))
  })

  test('round bf16 to the nearest, ties to even', () => {
    const bits = new Uint32Array([0x3f808000, 0x3f818000, 0x3f808001, 0xbf817fff, 0x80000000])
    const tensor = inFrame(encodeTensor(new Float32Array(bits.buffer), 1, 5, 'bf16'))
    const decoded = new Uint32Array(decodeTensor(tensor).buffer)
    expect([...decoded]).toEqual([0x3f800000, 0x3f820000, 0x3f810000, 0xbf810000, 0x80000000])
  })

  test('carry int8 within half a step of each block of 64', () => {
    for (const columns of [1, 63, 64, 65, 576]) {
      const values = activations(4 * columns, columns)
      const decoded = decodeTensor(inFrame(encodeTensor(values, 4, columns, 'int8')))
      for (let row = 0; row < 4; row++) {
        for (let begin = 0; begin < columns; begin += 64) {
          const at = row * columns + begin
          const block = values.subarray(at, row * columns + Math.min(columns, begin + 64))
          const most = Math.max(...block.map(Math.abs))
          const error = Math.max(...block.map((value, i) => Math.abs(value - decoded[at + i]!)))
          expect(error).toBeLessThanOrEqual((most / 127) * 0.5001)
        }
      }
    }
  })

  test('carry the least and the largest floats by int8 within their step', () => {
    const values = new Float32Array([1e-45, -1e-40, 0, 0, 3.3e38, -3.3e38, 1, 0])
    const decoded = decodeTensor(encodeTensor(values, 2, 4, 'int8'))
    expect([...decoded.subarray(0, 4)]).toEqual([0, 0, 0, 0])
    expect(decoded[4]! / 3.3e38).toBeCloseTo(1, 6)
    expect(decoded[5]! / -3.3e38).toBeCloseTo(1, 6)
  })

  test('give memory that can be transferred', () => {
    for (const dtype of DTYPES) {
      const decoded = decodeTensor(inFrame(encodeTensor(activations(66, 3), 1, 66, dtype)))
      expect([decoded.byteOffset, decoded.buffer.byteLength]).toEqual([0, 66 * 4])
    }
  })

  test('refuse to send what is not finite, wherever it stands', () => {
    for (const dtype of DTYPES) {
      for (const bad of [NaN, Infinity, -Infinity]) {
        for (const at of [0, 63, 64, 129]) {
          const values = activations(130, 4)
          values[at] = bad
          expect(codeOf(() => encodeTensor(values, 1, 130, dtype))).toBe('BAD_INPUT')
        }
      }
    }
  })

  test('refuse to send what does not fit the type', () => {
    const codes = [
      codeOf(() => encodeTensor(new Float32Array([65_520]), 1, 1, 'f16')),
      codeOf(() => encodeTensor(new Float32Array([3.4e38]), 1, 1, 'bf16')),
      codeOf(() => encodeTensor(new Float32Array([3.4e38]), 1, 1, 'int8')),
      codeOf(() => encodeTensor(new Float32Array(5), 2, 3, 'f32')),
      codeOf(() => encodeTensor(new Float32Array(1), 1, 1, 'f8' as WireDtype))
    ]
    expect(codes).toEqual(['UNSUPPORTED', 'UNSUPPORTED', 'UNSUPPORTED', 'BAD_INPUT', 'UNSUPPORTED'])
  })

  test('refuse to take what is not finite', () => {
    const bad: Record<WireDtype, number[]> = {
      f32: [0, 0, 0x80, 0x7f],
      f16: [1, 0x7e],
      bf16: [0x80, 0xff],
      int8: [0xff, 0xff, 0x7f, 0x7f, 0x80]
    }
    for (const dtype of DTYPES) {
      const tensor = { dtype, rows: 1, columns: 1, data: new Uint8Array(bad[dtype]) }
      expect(codeOf(() => decodeTensor(tensor))).toBe('PROTOCOL')
    }
  })

  test('refuse bytes that are not those of the shape', () => {
    const tensor = { ...encodeTensor(activations(6, 5), 2, 3, 'f16'), rows: 3 }
    expect(codeOf(() => decodeTensor(tensor))).toBe('PROTOCOL')
  })
})

describe('sliceRows()', () => {
  test('gives rows that decode as they do in the whole', () => {
    for (const dtype of DTYPES) {
      const whole = encodeTensor(activations(5 * 70, 6), 5, 70, dtype)
      const part = sliceRows(whole, 2, 4)
      expect(part.data.byteLength).toBe(2 * rowBytes(dtype, 70))
      expect(decodeTensor(part)).toEqual(decodeTensor(whole).slice(140, 280))
    }
  })
})
