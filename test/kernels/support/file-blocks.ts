// Blocks of 32 weights as arithmetic.ts speaks of them, read from a file's bytes one value at a
// time: what the kernels are held against. Shares nothing with them.
import { computeF16 } from '../../../src/model/formats/dequantise-f16.ts'
import { TYPE_FACTS } from '../../../src/model/formats/tensor-types.ts'
import type { TensorType } from '../../../src/model/types.ts'

export interface Block {
  /** (32) */
  readonly codes: number[]
  readonly scale: number
  /** Factors of the first and the last 16 codes, in forms that have two. */
  readonly factors?: readonly [number, number]
  /** One of all codes, or two of 16. */
  readonly minimums?: readonly number[]
}

const halves = computeF16()
const IQ4 = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
const FP4 = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)
const signed = (byte: number): number => (byte << 24) >> 24

/** All blocks of a row of whole file blocks. */
export function readBlocks(type: TensorType, row: Uint8Array): Block[] {
  const { blockBytes } = TYPE_FACTS[type]
  return range(row.byteLength / blockBytes).flatMap((i) =>
    read(type, row.subarray(i * blockBytes, (i + 1) * blockBytes))
  )
}

function read(type: TensorType, bytes: Uint8Array): Block[] {
  const byte = (at: number): number => bytes[at]!
  const half = (at: number): number => halves[byte(at) | (byte(at + 1) << 8)]!
  /** `count` bits from bit `from` of a field that begins at byte `at`. */
  const bits = (at: number, from: number, count: number): number =>
    (byte(at + (from >> 3)) >> (from & 7)) & ((1 << count) - 1)
  /** Code i of 32 in 16 bytes: low halves first. */
  const nibble = (at: number, i: number): number => bits(at + (i & 15), 4 * (i >> 4), 4)
  const simple = (scale: number, code: (i: number) => number, minimum?: number): Block[] => [
    { codes: range(32).map(code), scale, ...(minimum !== undefined && { minimums: [minimum] }) }
  ]
  const each = (make: (j: number) => Block): Block[] => range(8).map(make)
  /** The jth scale and minimum of Q4_K and Q5_K. */
  const pair = (j: number): [number, number] =>
    j < 4
      ? [bits(4 + j, 0, 6), bits(8 + j, 0, 6)]
      : [bits(8 + j, 0, 4) | (bits(j, 6, 2) << 4), bits(8 + j, 4, 4) | (bits(4 + j, 6, 2) << 4)]
  const paired = (code: (j: number, i: number) => number): Block[] =>
    each((j) => ({
      codes: range(32).map((i) => code(j, i)),
      scale: half(0) * pair(j)[0],
      minimums: [-(half(2) * pair(j)[1])]
    }))
  /** Two bits of value i of block j, four runs of 32 to 32 bytes. */
  const two = (at: number, j: number, i: number): number =>
    bits(at + 32 * (j >> 2) + i, 2 * (j & 3), 2)

  switch (type) {
    case 'Q4_0':
      return simple(half(0), (i) => nibble(2, i) - 8)
    case 'Q4_1':
      return simple(half(0), (i) => nibble(4, i), half(2))
    case 'Q5_0':
      return simple(half(0), (i) => (nibble(6, i) | (bits(2, i, 1) << 4)) - 16)
    case 'Q5_1':
      return simple(half(0), (i) => nibble(8, i) | (bits(4, i, 1) << 4), half(2))
    case 'Q8_0':
      return simple(half(0), (i) => signed(byte(2 + i)))
    case 'IQ4_NL':
      return simple(half(0), (i) => IQ4[nibble(2, i)]!)
    case 'MXFP4':
      return simple(2 ** (byte(0) - 128), (i) => FP4[nibble(1, i)]!)
    case 'Q4_K':
      return paired((j, i) => bits(16 + 32 * (j >> 1) + i, 4 * (j & 1), 4))
    case 'Q5_K':
      return paired(
        (j, i) => bits(48 + 32 * (j >> 1) + i, 4 * (j & 1), 4) | (bits(16 + i, j, 1) << 4)
      )
    case 'IQ4_XS':
      return each((j) => ({
        codes: range(32).map((i) => IQ4[nibble(8 + 16 * j, i)]!),
        scale: half(0) * ((bits(4, 4 * j, 4) | (bits(2, 2 * j, 2) << 4)) - 32)
      }))
    case 'Q2_K':
      return each((j) => ({
        codes: range(32).map((i) => two(16, j, i)),
        scale: half(80),
        factors: [bits(2 * j, 0, 4), bits(2 * j + 1, 0, 4)],
        minimums: [-(half(82) * bits(2 * j, 4, 4)), -(half(82) * bits(2 * j + 1, 4, 4))]
      }))
    case 'Q3_K': {
      const factor = (i: number): number =>
        (bits(96 + (i & 7), 4 * (i >> 3), 4) | (bits(104 + (i & 3), 2 * (i >> 2), 2) << 4)) - 32
      return each((j) => ({
        codes: range(32).map((i) => (two(32, j, i) | (bits(i, j, 1) << 2)) - 4),
        scale: half(108),
        factors: [factor(2 * j), factor(2 * j + 1)]
      }))
    }
    case 'Q6_K':
      return each((j) => ({
        codes: range(32).map((i) => {
          const low = bits(64 * (j >> 2) + 32 * (j & 1) + i, 4 * ((j >> 1) & 1), 4)
          return (low | (two(128, j, i) << 4)) - 32
        }),
        scale: half(208),
        factors: [signed(byte(192 + 2 * j)), signed(byte(193 + 2 * j))]
      }))
    default:
      throw new TypeError(`${type} has no blocks of integers`)
  }
}
