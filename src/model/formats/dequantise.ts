// Rows of any tensor type as float32, by ggml's layouts. Every product fits a float32's 24 bits, so
// with one rounding per value the results equal ggml's. Knows no tensors by name.
import { computeF16 } from './dequantise-f16.ts'
import { rowBytes, TYPE_FACTS } from './tensor-types.ts'
import type { TensorType } from '../types.ts'

/** Reads `count` blocks of `bytes` from byte `at` on, into `out` from value `to` on. */
type Unpack = (bytes: Uint8Array, at: number, count: number, out: Float32Array, to: number) => void

/** Created on first use, because importing a module must do nothing. */
let halves: Float32Array | undefined

/**
 * Dequantises `bytes`, whole blocks of `type`, into `out` at `to`.
 * @returns `out`
 */
export function dequantise(
  type: TensorType,
  bytes: Uint8Array,
  out: Float32Array = new Float32Array(valuesIn(type, bytes)),
  to = 0
): Float32Array {
  const { blockSize, blockBytes } = TYPE_FACTS[type]
  const blocks = bytes.byteLength / blockBytes
  if (!Number.isInteger(blocks)) {
    throw new RangeError(`${bytes.byteLength} bytes are no whole number of ${type} blocks`)
  }
  if (to + blocks * blockSize > out.length) {
    throw new RangeError(`${blocks * blockSize} values do not fit at ${to} of ${out.length}`)
  }
  halves ??= computeF16()
  UNPACK[type](bytes, 0, blocks, out, to)
  return out
}

/** Rows [first, first + count) of a matrix with `columns` columns: (count, columns). */
export function dequantiseRows(
  type: TensorType,
  bytes: Uint8Array,
  columns: number,
  first: number,
  count: number
): Float32Array {
  const size = rowBytes(type, columns)
  if (first < 0 || count < 0 || (first + count) * size > bytes.byteLength) {
    throw new RangeError(`Rows ${first} to ${first + count} are not all there`)
  }
  return dequantise(type, bytes.subarray(first * size, (first + count) * size))
}

function valuesIn(type: TensorType, bytes: Uint8Array): number {
  const { blockSize, blockBytes } = TYPE_FACTS[type]
  return Math.floor(bytes.byteLength / blockBytes) * blockSize
}

const half = (bytes: Uint8Array, at: number): number => halves![bytes[at]! | (bytes[at + 1]! << 8)]!

const signed = (byte: number): number => (byte << 24) >> 24

const unpackF32: Unpack = (bytes, at, count, out, to) => {
  const start = bytes.byteOffset + at
  const source =
    start % 4 === 0
      ? new Float32Array(bytes.buffer, start, count)
      : new Float32Array(new Uint8Array(bytes.subarray(at, at + count * 4)).buffer)
  out.set(source, to)
}

const unpackF16: Unpack = (bytes, at, count, out, to) => {
  for (let i = 0; i < count; i++) out[to + i] = half(bytes, at + 2 * i)
}

const unpackBf16: Unpack = (bytes, at, count, out, to) => {
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length)
  for (let i = 0; i < count; i++) {
    bits[to + i] = (bytes[at + 2 * i]! << 16) | (bytes[at + 2 * i + 1]! << 24)
  }
}

/** Nibbles of 16 bytes: the low ones are values 0 to 15, the high ones 16 to 31. */
const unpackQ4 =
  (blockBytes: number, hasMinimum: boolean): Unpack =>
  (bytes, at, count, out, to) => {
    const header = hasMinimum ? 4 : 2
    for (let block = 0; block < count; block++, at += blockBytes, to += 32) {
      const scale = half(bytes, at)
      const base = hasMinimum ? half(bytes, at + 2) : -8 * scale
      for (let i = 0; i < 16; i++) {
        const pair = bytes[at + header + i]!
        out[to + i] = (pair & 15) * scale + base
        out[to + 16 + i] = (pair >> 4) * scale + base
      }
    }
  }

/** As Q4, with the fifth bits of all 32 values in four bytes before the nibbles. */
const unpackQ5 =
  (blockBytes: number, hasMinimum: boolean): Unpack =>
  (bytes, at, count, out, to) => {
    const header = hasMinimum ? 4 : 2
    for (let block = 0; block < count; block++, at += blockBytes, to += 32) {
      const scale = half(bytes, at)
      const base = hasMinimum ? half(bytes, at + 2) : -16 * scale
      const high = at + header
      const fifth =
        bytes[high]! | (bytes[high + 1]! << 8) | (bytes[high + 2]! << 16) | (bytes[high + 3]! << 24)
      for (let i = 0; i < 16; i++) {
        const pair = bytes[high + 4 + i]!
        out[to + i] = ((pair & 15) | (((fifth >>> i) & 1) << 4)) * scale + base
        out[to + 16 + i] = ((pair >> 4) | (((fifth >>> (i + 16)) & 1) << 4)) * scale + base
      }
    }
  }

const unpackQ8: Unpack = (bytes, at, count, out, to) => {
  for (let block = 0; block < count; block++, at += 34, to += 32) {
    const scale = half(bytes, at)
    for (let i = 0; i < 32; i++) out[to + i] = signed(bytes[at + 2 + i]!) * scale
  }
}

/**
 * The 6-bit scale (in the low byte) and minimum (shifted by 8) of one of a K block's eight groups.
 */
function scaleAndMinimum(bytes: Uint8Array, at: number, group: number): number {
  if (group < 4) return (bytes[at + group]! & 63) | ((bytes[at + group + 4]! & 63) << 8)
  const low = bytes[at + group + 4]!
  const scale = (low & 15) | ((bytes[at + group - 4]! >> 6) << 4)
  const minimum = (low >> 4) | ((bytes[at + group]! >> 6) << 4)
  return scale | (minimum << 8)
}

/** Q4_K, and Q5_K with its fifth bits in 32 bytes, a bit for each group. */
const unpackK =
  (blockBytes: number, hasFifth: boolean): Unpack =>
  (bytes, at, count, out, to) => {
    for (let block = 0; block < count; block++, at += blockBytes) {
      const scale = half(bytes, at)
      const minimum = half(bytes, at + 2)
      const fifths = at + 16
      let nibbles = hasFifth ? fifths + 32 : fifths
      for (let group = 0; group < 8; group += 2, nibbles += 32, to += 64) {
        const low = scaleAndMinimum(bytes, at + 4, group)
        const high = scaleAndMinimum(bytes, at + 4, group + 1)
        const lowScale = scale * (low & 255)
        const lowBase = minimum * (low >> 8)
        const highScale = scale * (high & 255)
        const highBase = minimum * (high >> 8)
        for (let i = 0; i < 32; i++) {
          const pair = bytes[nibbles + i]!
          const fifth = hasFifth ? bytes[fifths + i]! >> group : 0
          out[to + i] = ((pair & 15) | ((fifth & 1) << 4)) * lowScale - lowBase
          out[to + 32 + i] = ((pair >> 4) | ((fifth & 2) << 3)) * highScale - highBase
        }
      }
    }
  }

const unpackQ6K: Unpack = (bytes, at, count, out, to) => {
  for (let block = 0; block < count; block++, at += 210) {
    const scale = half(bytes, at + 208)
    for (let part = 0; part < 2; part++, to += 128) {
      const lows = at + part * 64
      const highs = at + 128 + part * 32
      const scales = at + 192 + part * 8
      // Four runs of 32 values; each half of a run has its own scale.
      for (let i = 0; i < 32; i++) {
        const group = scales + (i >> 4)
        const first = bytes[lows + i]!
        const second = bytes[lows + 32 + i]!
        const high = bytes[highs + i]!
        const a = ((first & 15) | ((high & 3) << 4)) - 32
        const b = ((second & 15) | (((high >> 2) & 3) << 4)) - 32
        const c = ((first >> 4) | (((high >> 4) & 3) << 4)) - 32
        const d = ((second >> 4) | ((high >> 6) << 4)) - 32
        out[to + i] = a * signed(bytes[group]!) * scale
        out[to + 32 + i] = b * signed(bytes[group + 2]!) * scale
        out[to + 64 + i] = c * signed(bytes[group + 4]!) * scale
        out[to + 96 + i] = d * signed(bytes[group + 6]!) * scale
      }
    }
  }
}

/**
 * Two bits per value; a byte holds one value each of four groups of 32. Every 16 values have a
 * scale and a minimum of 4 bits.
 */
const unpackQ2K: Unpack = (bytes, at, count, out, to) => {
  for (let block = 0; block < count; block++, at += 84) {
    const scale = half(bytes, at + 80)
    const minimum = half(bytes, at + 82)
    for (let group = 0; group < 16; group++, to += 16) {
      const both = bytes[at + group]!
      const groupScale = scale * (both & 15)
      const base = minimum * (both >> 4)
      const codes = at + 16 + 32 * (group >> 3) + 16 * (group & 1)
      const shift = 2 * ((group >> 1) & 3)
      for (let i = 0; i < 16; i++) {
        out[to + i] = ((bytes[codes + i]! >> shift) & 3) * groupScale - base
      }
    }
  }
}

/** As Q2_K, with a separate third bit, and signed scales of 6 bits. */
const unpackQ3K: Unpack = (bytes, at, count, out, to) => {
  for (let block = 0; block < count; block++, at += 110) {
    const scale = half(bytes, at + 108)
    const scales = at + 96
    for (let group = 0; group < 16; group++, to += 16) {
      const low = (bytes[scales + (group & 7)]! >> (group < 8 ? 0 : 4)) & 15
      const high = (bytes[scales + 8 + (group & 3)]! >> (2 * (group >> 2))) & 3
      const groupScale = scale * ((low | (high << 4)) - 32)
      const codes = at + 32 + 32 * (group >> 3) + 16 * (group & 1)
      const thirds = at + 16 * (group & 1)
      const shift = 2 * ((group >> 1) & 3)
      const third = group >> 1
      for (let i = 0; i < 16; i++) {
        const code = (bytes[codes + i]! >> shift) & 3
        out[to + i] = (code - (((bytes[thirds + i]! >> third) & 1) === 1 ? 0 : 4)) * groupScale
      }
    }
  }
}

/** The values of the IQ4 types' codes. */
const IQ4_VALUES = new Int8Array([
  -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113
])
/** Twice the values of MXFP4's codes. */
const MXFP4_VALUES = Int8Array.of(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)

/** 16 bytes of codes: low halves are values 0 to 15, high halves 16 to 31. */
function lookUp(
  table: Int8Array,
  from: { bytes: Uint8Array; at: number; scale: number },
  out: Float32Array,
  to: number
): void {
  const { bytes, at, scale } = from
  for (let i = 0; i < 16; i++) {
    const pair = bytes[at + i]!
    out[to + i] = table[pair & 15]! * scale
    out[to + 16 + i] = table[pair >> 4]! * scale
  }
}

const unpackIq4Nl: Unpack = (bytes, at, count, out, to) => {
  for (let block = 0; block < count; block++, at += 18, to += 32) {
    lookUp(IQ4_VALUES, { bytes, at: at + 2, scale: half(bytes, at) }, out, to)
  }
}

const unpackIq4Xs: Unpack = (bytes, at, count, out, to) => {
  for (let block = 0; block < count; block++, at += 136) {
    const scale = half(bytes, at)
    const highs = bytes[at + 2]! | (bytes[at + 3]! << 8)
    for (let group = 0; group < 8; group++, to += 32) {
      const low = (bytes[at + 4 + (group >> 1)]! >> (4 * (group & 1))) & 15
      const factor = (low | (((highs >> (2 * group)) & 3) << 4)) - 32
      lookUp(IQ4_VALUES, { bytes, at: at + 8 + 16 * group, scale: scale * factor }, out, to)
    }
  }
}

/** A power of two for each 32 values; the table's values are doubled, so it is halved. */
const unpackMxfp4: Unpack = (bytes, at, count, out, to) => {
  for (let block = 0; block < count; block++, at += 17, to += 32) {
    lookUp(MXFP4_VALUES, { bytes, at: at + 1, scale: 2 ** (bytes[at]! - 128) }, out, to)
  }
}

const UNPACK: Readonly<Record<TensorType, Unpack>> = {
  F32: unpackF32,
  F16: unpackF16,
  BF16: unpackBf16,
  Q4_0: unpackQ4(18, false),
  Q4_1: unpackQ4(20, true),
  Q5_0: unpackQ5(22, false),
  Q5_1: unpackQ5(24, true),
  Q8_0: unpackQ8,
  Q2_K: unpackQ2K,
  Q3_K: unpackQ3K,
  Q4_K: unpackK(144, false),
  Q5_K: unpackK(176, true),
  Q6_K: unpackQ6K,
  IQ4_NL: unpackIq4Nl,
  IQ4_XS: unpackIq4Xs,
  MXFP4: unpackMxfp4
}
