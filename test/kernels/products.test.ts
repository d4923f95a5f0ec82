import { describe, expect, test } from 'bun:test'
import { dequantise, dequantiseRows } from '../../src/model/formats/dequantise.ts'
import { rowBytes, TYPE_FACTS } from '../../src/model/formats/tensor-types.ts'
import type { TensorType } from '../../src/model/types.ts'
import { type Block, readBlocks } from './support/file-blocks.ts'
import {
  GROUP,
  I4,
  I8,
  openProducts,
  type Packed,
  type Products,
  randomFloats,
  randomSource,
  type Source
} from './support/products.ts'
import { floatProduct, roundedProduct, roundRow } from './support/exact-product.ts'

const ROWS = 40
const COLUMNS = 512
const INPUTS = 37
const TYPES = Object.keys(TYPE_FACTS) as TensorType[]
const INTEGERS = TYPES.filter((type) => !['F32', 'F16', 'BF16'].includes(type))

const all = openProducts()
const x = randomFloats(INPUTS * COLUMNS, 99).map((value, i) => value * (1 + (i % 7)))
const bias = randomFloats(ROWS, 98)
const input = (row: number): Float32Array => x.subarray(row * COLUMNS, (row + 1) * COLUMNS)

function pack(products: Products, source: Source, form = TYPE_FACTS[source.type].ggufId): Packed {
  const packed = products.pack(form, COLUMNS, source)
  if (typeof packed === 'number') throw new Error(`Row ${packed} of ${source.type} was refused`)
  return packed
}

const bits = (values: Float32Array): Uint32Array =>
  new Uint32Array(values.buffer, values.byteOffset, values.length)

/** (INPUTS, ROWS) of products, plus bias. */
function table(product: (input: number, row: number) => number): Float32Array {
  return Float32Array.from({ length: INPUTS * ROWS }, (_, i) =>
    Math.fround(product(Math.floor(i / ROWS), i % ROWS) + bias[i % ROWS]!)
  )
}

/** The same product whole, and one row and one group at a time. */
function bothWays(products: Products, packed: Packed, floats: boolean): Uint32Array[] {
  const whole = products.multiply(packed, x, { floats, bias })
  const pieces = new Float32Array(whole.length)
  for (let row = 0; row < INPUTS; row++) {
    for (let group = 0; group * GROUP < ROWS; group++) {
      const groups = [group, group + 1] as const
      const one = products.multiply(packed, input(row), { floats, bias, groups })
      const end = Math.min(ROWS, (group + 1) * GROUP)
      pieces.set(one.subarray(group * GROUP, end), row * ROWS + group * GROUP)
    }
  }
  return [bits(whole), bits(pieces)]
}

describe('packed weights', () => {
  test.each(TYPES)('of %s unpack to what the file holds', (type) => {
    const source = randomSource(type, ROWS, COLUMNS)
    const expected = dequantise(type, source.bytes)
    for (const products of all) {
      const packed = pack(products, source)
      const rows = Array.from({ length: ROWS }, (_, row) => [...products.unpackRow(packed, row)])
      expect(rows.flat().map((value) => value + 0)).toEqual([...expected].map((v) => v + 0))
      expect(packed.data.length).toBeLessThanOrEqual(1.05 * source.bytes.length * (48 / ROWS))
    }
  })

  test.each(INTEGERS)('of %s are refused with a scale that is not finite', (type) => {
    const source = randomSource(type, ROWS, COLUMNS)
    const { blockBytes } = TYPE_FACTS[type]
    const size = rowBytes(type, COLUMNS)
    const at = { Q2_K: 82, Q3_K: 108, Q4_1: 2, Q4_K: 2, Q5_1: 2, Q5_K: 2, Q6_K: 208 }[
      type as string
    ]
    // The last block of row 33: infinite as float16, no number as MXFP4's exponent.
    const place = 34 * size - blockBytes + (at ?? 0)
    source.bytes.set(type === 'MXFP4' ? [255] : [0, 0x7c], place)
    expect(all.map((products) => products.pack(TYPE_FACTS[type].ggufId, COLUMNS, source))).toEqual(
      all.map(() => 33)
    )
  })

  test.each(['F32', 'F16', 'BF16'] as const)('of %s are refused when no number', (type) => {
    for (const form of [TYPE_FACTS[type].ggufId, I4, I8]) {
      const source = randomSource(type, ROWS, COLUMNS)
      source.bytes.set(
        { F32: [0, 0, 0xc0, 0x7f], F16: [0, 0xfc], BF16: [0x80, 0x7f] }[type],
        rowBytes(type, COLUMNS) * 7
      )
      expect(all.map((products) => products.pack(form, COLUMNS, source))).toEqual(all.map(() => 7))
    }
  })

  test('are refused in columns that the form cannot hold, and from another type', () => {
    const source = randomSource('Q4_K', 16, 256)
    for (const products of all) {
      expect(products.pack(TYPE_FACTS.Q4_K.ggufId, 288, source)).toBe(-2)
      expect(products.pack(TYPE_FACTS.Q5_K.ggufId, 256, source)).toBe(-2)
      expect(products.pack(77, 256, source)).toBe(-2)
    }
  })

  test('of floats rounded to 4 and 8 bits are near them, and the same everywhere', () => {
    const source = randomSource('F32', ROWS, COLUMNS)
    const values = dequantise('F32', source.bytes)
    for (const [form, most] of [
      [I4, 0.12],
      [I8, 0.005]
    ] as const) {
      const packed = all.map((products) => pack(products, source, form))
      for (const one of packed) expect(one.data).toEqual(packed[0]!.data)
      for (let row = 0; row < ROWS; row++) {
        const unpacked = all[0]!.unpackRow(packed[0]!, row)
        const errors = unpacked.map((v, k) => Math.abs(v - values[row * COLUMNS + k]!))
        expect(Math.max(...errors)).toBeLessThan(most)
      }
    }
  })
})

describe('a product', () => {
  test.each(INTEGERS)('of %s with rounded rows has the bits that are defined', (type) => {
    const source = randomSource(type, ROWS, COLUMNS)
    const size = rowBytes(type, COLUMNS)
    const weights: Block[][] = Array.from({ length: ROWS }, (_, row) =>
      readBlocks(type, source.bytes.subarray(row * size, (row + 1) * size))
    )
    const rounded = Array.from({ length: INPUTS }, (_, row) => roundRow(input(row)))
    const expected = bits(table((i, row) => roundedProduct(weights[row]!, rounded[i]!)))
    for (const products of all) {
      const found = bothWays(products, pack(products, source), false)
      expect({ variant: products.variant, found }).toEqual({
        variant: products.variant,
        found: [expected, expected]
      })
    }
  })

  test.each(TYPES)('of %s with floats has the bits that are defined', (type) => {
    const source = randomSource(type, ROWS, COLUMNS)
    const weights = Array.from({ length: ROWS }, (_, row) =>
      dequantiseRows(type, source.bytes, COLUMNS, row, 1)
    )
    const expected = bits(table((i, row) => floatProduct(weights[row]!, input(i))))
    for (const products of all) {
      const found = bothWays(products, pack(products, source), true)
      expect({ variant: products.variant, found }).toEqual({
        variant: products.variant,
        found: [expected, expected]
      })
    }
  })

  test.each(INTEGERS)('of %s is close to the exact one', (type) => {
    const source = randomSource(type, ROWS, COLUMNS)
    const weights = dequantise(type, source.bytes)
    const found = all[0]!.multiply(pack(all[0]!, source), x)
    for (let i = 0; i < found.length; i++) {
      const at = (i % ROWS) * COLUMNS
      const row = input(Math.floor(i / ROWS))
      const exact = row.reduce((y, value, k) => y + value * weights[at + k]!, 0)
      const size = Math.hypot(...row.map((value, k) => value * weights[at + k]!))
      expect(Math.abs(found[i]! - exact)).toBeLessThan(0.04 * size + 1e-6)
    }
  })

  test('is no number where its row has a value that is not finite', () => {
    const source = randomSource('Q4_0', ROWS, COLUMNS)
    const spoilt = Float32Array.from(x)
    spoilt[3 * COLUMNS + 100] = Infinity
    for (const products of all) {
      const found = products.multiply(pack(products, source), spoilt)
      const bad = Array.from({ length: INPUTS }, (_, i) =>
        found.subarray(i * ROWS, (i + 1) * ROWS).every(Number.isNaN)
      )
      expect(bad.map((row, i) => (row ? i : -1)).filter((i) => i >= 0)).toEqual([3])
    }
  })
})

describe('rounded rows', () => {
  test('hold ties to even, zeros for what is too small, and sums', () => {
    const row = new Float32Array(48)
    row.set([127, 0.5, 1.5, -0.5, -2.5, -127, 3])
    row.fill(2 ** -101, 32)
    for (const products of all) {
      const view = new DataView(products.roundRows(row, 48).buffer)
      const q = Array.from({ length: 8 }, (_, i) => view.getInt8(i))
      expect(q).toEqual([127, 0, 2, 0, -2, -127, 3, 0])
      expect([32, 36, 40, 44].map((at) => view.getFloat32(at, true))).toEqual([1, 3, 3, 0])
      expect([96, 100].map((at) => view.getFloat32(at, true))).toEqual([0, 0])
    }
  })
})
