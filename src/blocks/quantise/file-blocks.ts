// Regroups GGUF's block types into the integers, scales and offsets of MatMulNBits, without
// rounding: weight = scale * (code - zero) + offset, where zero is 8 for 4 bits and 128 for 8 bits.
// Every scale is a float16 times at most a small integer, so a float32 holds it exactly.
import { computeF16 } from '../../model/formats/dequantise-f16.ts'
import { TYPE_FACTS } from '../../model/formats/tensor-types.ts'
import type { TensorType } from '../../model/types.ts'
import type { BlockArrays, MatrixSource } from './arrays.ts'
import type { BlockForm } from './form.ts'

/** Reads one block of the file at byte `at` into the blocks of `out` from block `to` on. */
type ReadBlock = (bytes: Uint8Array, at: number, out: BlockArrays, to: number) => void

let halves: Float32Array | undefined

/** Regroups all rows of `source` into `out`, from row `first` on. */
export function readFileBlocks(
  source: MatrixSource,
  form: BlockForm,
  out: BlockArrays,
  first: number
): void {
  const read = READERS[source.type]
  if (read === undefined) throw new TypeError(`${source.type} has no blocks of integers`)
  halves ??= computeF16()
  const { blockSize, blockBytes } = TYPE_FACTS[source.type]
  const fileBlocks = (source.rows * source.columns) / blockSize
  const each = blockSize / form.block
  let to = (first * source.columns) / form.block
  for (let at = 0, i = 0; i < fileBlocks; i++, at += blockBytes, to += each) {
    read(source.bytes, at, out, to)
  }
}

const half = (bytes: Uint8Array, at: number): number => halves![bytes[at]! | (bytes[at + 1]! << 8)]!

/** 16 bytes with values 0..15 in the low halves and 16..31 in the high ones, to pairs in order. */
function regroup4(bytes: Uint8Array, at: number, values: Uint8Array, to: number): void {
  for (let i = 0; i < 8; i++) {
    const a = bytes[at + 2 * i]!
    const b = bytes[at + 2 * i + 1]!
    values[to + i] = (a & 15) | ((b & 15) << 4)
    values[to + 8 + i] = (a >> 4) | (b & 0xf0)
  }
}

const readQ4_0: ReadBlock = (bytes, at, out, to) => {
  out.scales[to] = half(bytes, at)
  regroup4(bytes, at + 2, out.values, to * 16)
}

const readQ4_1: ReadBlock = (bytes, at, out, to) => {
  const scale = half(bytes, at)
  out.scales[to] = scale
  out.offsets[to] = half(bytes, at + 2) + 8 * scale
  regroup4(bytes, at + 4, out.values, to * 16)
}

/** The fifth bits of a block, one for each value. */
const highBits = (bytes: Uint8Array, at: number): number =>
  bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)

function widen5(bytes: Uint8Array, high: number, at: number, out: Uint8Array, to: number): void {
  for (let i = 0; i < 16; i++) {
    const pair = bytes[at + i]!
    out[to + i] = 112 + ((pair & 15) | (((high >>> i) & 1) << 4))
    out[to + 16 + i] = 112 + ((pair >> 4) | (((high >>> (i + 16)) & 1) << 4))
  }
}

const readQ5_0: ReadBlock = (bytes, at, out, to) => {
  out.scales[to] = half(bytes, at)
  widen5(bytes, highBits(bytes, at + 2), at + 6, out.values, to * 32)
}

const readQ5_1: ReadBlock = (bytes, at, out, to) => {
  const scale = half(bytes, at)
  out.scales[to] = scale
  out.offsets[to] = half(bytes, at + 2) + 16 * scale
  widen5(bytes, highBits(bytes, at + 4), at + 8, out.values, to * 32)
}

const readQ8_0: ReadBlock = (bytes, at, out, to) => {
  out.scales[to] = half(bytes, at)
  for (let i = 0; i < 32; i++) out.values[to * 32 + i] = bytes[at + 2 + i]! ^ 0x80
}

/** Scale and minimum of sub-block `j`, from the 12 bytes into which K types pack eight pairs. */
function scaleAndMinimum(bytes: Uint8Array, at: number, j: number): [number, number] {
  if (j < 4) return [bytes[at + j]! & 63, bytes[at + j + 4]! & 63]
  const mixed = bytes[at + j + 4]!
  return [
    (mixed & 15) | ((bytes[at + j - 4]! >> 6) << 4),
    (mixed >> 4) | ((bytes[at + j]! >> 6) << 4)
  ]
}

const readQ4_K: ReadBlock = (bytes, at, out, to) => {
  const d = half(bytes, at)
  const dmin = half(bytes, at + 2)
  for (let j = 0; j < 8; j++) {
    const [factor, minimum] = scaleAndMinimum(bytes, at + 4, j)
    const scale = d * factor
    out.scales[to + j] = scale
    out.offsets[to + j] = 8 * scale - dmin * minimum
    const from = at + 16 + 32 * (j >> 1)
    const shift = 4 * (j & 1)
    for (let i = 0; i < 16; i++) {
      const low = (bytes[from + 2 * i]! >> shift) & 15
      const high = (bytes[from + 2 * i + 1]! >> shift) & 15
      out.values[(to + j) * 16 + i] = low | (high << 4)
    }
  }
}

const readQ5_K: ReadBlock = (bytes, at, out, to) => {
  const d = half(bytes, at)
  const dmin = half(bytes, at + 2)
  for (let j = 0; j < 8; j++) {
    const [factor, minimum] = scaleAndMinimum(bytes, at + 4, j)
    const scale = d * factor
    out.scales[to + j] = scale
    out.offsets[to + j] = 16 * scale - dmin * minimum
    const from = at + 48 + 32 * (j >> 1)
    const shift = 4 * (j & 1)
    for (let i = 0; i < 32; i++) {
      const fifth = (bytes[at + 16 + i]! >> j) & 1
      out.values[(to + j) * 32 + i] = 112 + (((bytes[from + i]! >> shift) & 15) | (fifth << 4))
    }
  }
}

const readQ6_K: ReadBlock = (bytes, at, out, to) => {
  const d = half(bytes, at + 208)
  for (let part = 0; part < 2; part++) {
    const low = at + 64 * part
    const high = at + 128 + 32 * part
    const values = to * 16 + 128 * part
    for (let i = 0; i < 32; i++) {
      const bits = bytes[high + i]!
      const a = bytes[low + i]!
      const b = bytes[low + 32 + i]!
      out.values[values + i] = 96 + ((a & 15) | ((bits & 3) << 4))
      out.values[values + 32 + i] = 96 + ((b & 15) | (((bits >> 2) & 3) << 4))
      out.values[values + 64 + i] = 96 + ((a >> 4) | (((bits >> 4) & 3) << 4))
      out.values[values + 96 + i] = 96 + ((b >> 4) | (((bits >> 6) & 3) << 4))
    }
    for (let i = 0; i < 8; i++) {
      const factor = (bytes[at + 192 + 8 * part + i]! << 24) >> 24
      out.scales[to + 8 * part + i] = d * factor
    }
  }
}

const READERS: Partial<Readonly<Record<TensorType, ReadBlock>>> = {
  Q4_0: readQ4_0,
  Q4_1: readQ4_1,
  Q4_K: readQ4_K,
  Q5_0: readQ5_0,
  Q5_1: readQ5_1,
  Q5_K: readQ5_K,
  Q6_K: readQ6_K,
  Q8_0: readQ8_0
}
