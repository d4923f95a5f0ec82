// Rows of any tensor type as float32: what each type's bytes mean, by the layouts of ggml.
// Every product fits a float32's 24 bits, so one rounding per value gives ggml's own results.
// Knows no tensors by name.
import { computeF16 } from './dequantise-f16.ts'
import { rowBytes, TYPE_FACTS } from './tensor-types.ts'
import type { TensorType } from '../types.ts'

/** Reads `count` blocks of `bytes` from byte `at` into `out` from value `to`. */
type Unpack = (bytes: Uint8Array, at: number, count: number, out: Float32Array, to: number) => void

/** Made on first use: importing does nothing. */
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

/** Nibbles of 16 bytes: low ones are values 0 to 15, high ones 16 to 31. */
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

/** The 6-bit scale (low) and minimum (shifted by 8) of one of a K block's eight groups. */
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
      // Four runs of 32 values, of which each half has a scale of its own.
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

const UNPACK: Readonly<Record<TensorType, Unpack>> = {
  F32: unpackF32,
  F16: unpackF16,
  BF16: unpackBf16,
  Q4_0: unpackQ4(18, false),
  Q4_1: unpackQ4(20, true),
  Q5_0: unpackQ5(22, false),
  Q5_1: unpackQ5(24, true),
  Q8_0: unpackQ8,
  Q4_K: unpackK(144, false),
  Q5_K: unpackK(176, true),
  Q6_K: unpackQ6K
}
