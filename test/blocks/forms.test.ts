// The forms that hold weights: file blocks keep every value, rounding errs by half a step at most.
import { describe, expect, test } from 'bun:test'
import { seededRandom } from '../../src/base/random.ts'
import { blockCounts, encodeBlocks } from '../../src/blocks/quantise/encode.ts'
import type { BlockArrays } from '../../src/blocks/quantise/arrays.ts'
import { planForm, type BlockForm } from '../../src/blocks/quantise/form.ts'
import { dequantise } from '../../src/model/formats/dequantise.ts'
import type { TensorType } from '../../src/model/types.ts'
import { randomBlocks } from './support/random-llama.ts'

/** What MatMulNBits makes of a form, by its definition. */
function decode(form: BlockForm, arrays: BlockArrays, rows: number, columns: number): Float64Array {
  const { bits, block, offsets } = form
  const count = Math.ceil(columns / block)
  const out = new Float64Array(rows * columns)
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < columns; i++) {
      const at = row * count + Math.floor(i / block)
      const place = at * block + (i % block)
      const code =
        bits === 8 ? arrays.values[place]! : (arrays.values[place >> 1]! >> (4 * (place & 1))) & 15
      const value = arrays.scales[at]! * (code - 2 ** (bits - 1))
      out[row * columns + i] = value + (offsets ? arrays.offsets[at]! : 0)
    }
  }
  return out
}

function encode(
  type: TensorType,
  bytes: Uint8Array,
  form: BlockForm,
  rows: number,
  columns: number
): BlockArrays {
  const counts = blockCounts(form, rows, columns)
  const arrays = {
    values: new Uint8Array(counts.values),
    scales: new Float32Array(counts.scales),
    offsets: new Float32Array(counts.offsets)
  }
  encodeBlocks({ type, bytes, rows, columns }, form, arrays, 0)
  return arrays
}

function blockForm(type: TensorType, quant: 'native' | 'int8' | 'int4'): BlockForm {
  const form = planForm(type, quant)
  if (form.kind !== 'blocks') throw new Error(`${type} is held as floats`)
  return form
}

describe("native forms of a file's blocks", () => {
  const types = ['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'Q4_K', 'Q5_K', 'Q6_K'] as const
  for (const type of types) {
    test(`${type} keeps every weight`, () => {
      const [rows, columns] = [3, 512]
      const bytes = randomBlocks(type, rows * columns, 0.05, seededRandom(3))
      const form = blockForm(type, 'native')
      const held = decode(form, encode(type, bytes, form, rows, columns), rows, columns)
      const wanted = dequantise(type, bytes)
      // Scale and offset are added in another order, so the last bit of a float32 may differ.
      const off = wanted.filter(
        (value, i) => Math.abs(value - held[i]!) > 1e-7 * Math.max(Math.abs(value), 0.1)
      )
      expect({ off: [...off], notes: form.note.includes('exact') }).toEqual({
        off: [],
        notes: true
      })
    })
  }
})

describe('rounding floats', () => {
  for (const [quant, levels] of [
    ['int8', 127],
    ['int4', 8]
  ] as const) {
    test(`${quant} errs by half a step of its block at most`, () => {
      const [rows, columns] = [5, 96]
      const bytes = randomBlocks('F32', rows * columns, 0.1, seededRandom(5))
      const form = blockForm('F32', quant)
      const held = decode(form, encode('F32', bytes, form, rows, columns), rows, columns)
      const floats = dequantise('F32', bytes)
      let worst = 0
      for (let at = 0; at < floats.length; at += form.block) {
        const block = floats.subarray(at, at + form.block)
        const peak = Math.max(...block.map(Math.abs))
        // At 4 bits the code opposite to the largest is missing: one step there instead of half of
        // one.
        const step = (peak / levels) * (quant === 'int4' ? 1 : 0.5)
        for (const [i, value] of block.entries()) {
          worst = Math.max(worst, Math.abs(value - held[at + i]!) / step)
        }
      }
      expect(worst).toBeGreaterThan(0.5)
      expect(worst).toBeLessThanOrEqual(1.001)
    })
  }

  test('a last block that is short is filled with zeros', () => {
    const [rows, columns] = [2, 44]
    const bytes = randomBlocks('F32', rows * columns, 0.1, seededRandom(6))
    const form = blockForm('F32', 'int8')
    const arrays = encode('F32', bytes, form, rows, columns)
    const fill = [...arrays.values.subarray(form.block + 12, 2 * form.block)]
    expect(fill).toEqual(Array.from({ length: 20 }, () => 128))
    const held = decode(form, arrays, rows, columns)
    const floats = dequantise('F32', bytes)
    expect(Math.max(...held.map((value, i) => Math.abs(value - floats[i]!)))).toBeLessThan(2e-3)
  })

  test('int4 chooses scales of less error than those that let the largest value through', () => {
    const [rows, columns] = [64, 512]
    const bytes = randomBlocks('F32', rows * columns, 1, seededRandom(8))
    const form = blockForm('F32', 'int4')
    const held = decode(form, encode('F32', bytes, form, rows, columns), rows, columns)
    const floats = dequantise('F32', bytes)
    const square = (sum: number, value: number): number => sum + value * value
    const error = floats.map((value, i) => value - held[i]!).reduce(square, 0)
    // 8.6 % with the largest value's scale, 8.1 % with the best.
    expect(100 * Math.sqrt(error / floats.reduce(square, 0))).toBeWithin(7.9, 8.3)
  })

  test('a block of zeros stays zeros', () => {
    const form = blockForm('F32', 'int4')
    const arrays = encode('F32', new Uint8Array(4 * 32), form, 1, 32)
    expect([...decode(form, arrays, 1, 32)].every((value) => value === 0)).toBe(true)
  })
})

test('int8 and int4 round what has more bits and keep what has not', () => {
  const notes = (quant: 'int8' | 'int4'): string[] =>
    (['F32', 'Q8_0', 'Q6_K', 'Q4_1', 'Q4_0'] as const).map((type) => planForm(type, quant).note)
  expect([notes('int8'), notes('int4')]).toEqual([
    [
      'F32 rounded to 8 bits',
      'Q8_0 exact, 8 bits',
      'Q6_K exact, held in 8 bits',
      'Q4_1 exact, 4 bits + block minimum',
      'Q4_0 exact, 4 bits'
    ],
    [
      'F32 rounded to 4 bits',
      'Q8_0 rounded to 4 bits',
      'Q6_K rounded to 4 bits',
      'Q4_1 exact, 4 bits + block minimum',
      'Q4_0 exact, 4 bits'
    ]
  ])
})
