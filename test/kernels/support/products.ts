// The kernels' matrix products as tests call them, and rows of every weight form from a seed.
import { dlopen, type FFIFunction, ptr } from 'bun:ffi'
import { join } from 'node:path'
import { developmentLibraries } from '../../../src/kernels/development.ts'
import { VARIANTS, type Variant } from '../../../src/kernels/kernels.ts'
import { libraryName } from '../../../src/kernels/libraries.ts'
import { loadKernels } from '../../../src/kernels/load.ts'
import { TYPE_FACTS } from '../../../src/model/formats/tensor-types.ts'
import type { TensorType } from '../../../src/model/types.ts'

const FUNCTIONS = {
  pk_pack: { args: ['i32', 'i32', 'i32', 'ptr', 'i32', 'i32', 'ptr'], returns: 'i32' },
  pk_packed_bytes: { args: ['i32', 'i32', 'i32'], returns: 'u64' },
  pk_unpack_row: { args: ['i32', 'i32', 'ptr', 'i32', 'ptr'], returns: 'void' },
  pk_xq_bytes: { args: ['i32'], returns: 'u64' },
  pk_quantise_rows: { args: ['ptr', 'i64', 'i32', 'i32', 'ptr'], returns: 'void' },
  pk_scratch_bytes: { args: [], returns: 'u64' },
  pk_matmul: {
    args: ['ptr', 'ptr', 'i64', 'ptr', 'ptr', 'i64', 'i32', 'i32', 'i32', 'ptr'],
    returns: 'void'
  }
} as const satisfies Record<string, FFIFunction>

/** Forms that round floats, beside those of files. */
export const I4 = 100
export const I8 = 101
export const GROUP = 16

/** (rows, columns) in a form, packed. */
export interface Packed {
  readonly form: number
  readonly rows: number
  readonly columns: number
  readonly data: Uint8Array
}

export interface ProductOptions {
  /** Rows meet the weights as floats. Default: false */
  floats?: boolean
  /** Which groups of 16 outputs. Default: all */
  groups?: readonly [number, number]
  bias?: Float32Array
}

export interface Products {
  readonly variant: Variant
  pack(form: number, columns: number, source: Source): Packed | number
  unpackRow(packed: Packed, row: number): Float32Array
  /** Bytes of all rows rounded to int8: see `struct pk_xblock`. */
  roundRows(x: Float32Array, columns: number): Uint8Array
  /** (rows of x, rows of weights); what was not computed is NaN. */
  multiply(packed: Packed, x: Float32Array, options?: ProductOptions): Float32Array
}

/** A matrix as it lies in a file. */
export interface Source {
  readonly type: TensorType
  readonly bytes: Uint8Array
  readonly rows: number
}

/** A library for each instruction set that this machine has. */
export function openProducts(): Products[] {
  const folder = developmentLibraries()
  return VARIANTS.filter(canLoad).map((variant) => {
    const { symbols } = dlopen(join(folder, libraryName(variant, process.platform)), FUNCTIONS)
    const scratch = new Uint8Array(Number(symbols.pk_scratch_bytes()) + 64)
    const roundRows = (x: Float32Array, columns: number): Uint8Array => {
      const rows = x.length / columns
      const rounded = new Uint8Array(rows * Number(symbols.pk_xq_bytes(columns)))
      symbols.pk_quantise_rows(x, columns, rows, columns, rounded)
      return rounded
    }
    return {
      variant,
      roundRows,
      pack(form, columns, { type, bytes, rows }) {
        const data = new Uint8Array(Number(symbols.pk_packed_bytes(form, rows, columns)))
        data.fill(255)
        const { ggufId } = TYPE_FACTS[type]
        const result = symbols.pk_pack(form, columns, ggufId, bytes, 0, rows, data)
        return result === -1 ? { form, rows, columns, data } : result
      },
      unpackRow({ form, columns, data }, row) {
        const out = new Float32Array(columns)
        symbols.pk_unpack_row(form, columns, data, row, out)
        return out
      },
      multiply({ form, rows: outputs, columns, data }, x, options = {}) {
        const { floats = false, groups = [0, Math.ceil(outputs / GROUP)], bias } = options
        const rows = x.length / columns
        const y = new Float32Array(rows * outputs).fill(NaN)
        const matrix = new ArrayBuffer(32)
        new BigUint64Array(matrix, 0, 1)[0] = BigInt(ptr(data))
        new Int32Array(matrix, 8, 3).set([form, outputs, columns])
        new BigUint64Array(matrix, 24, 1)[0] = bias === undefined ? 0n : BigInt(ptr(bias))
        const rounded = floats ? null : roundRows(x, columns)
        const [first, end] = groups
        const memory = scratch.subarray((64 - (Number(ptr(scratch)) % 64)) % 64)
        symbols.pk_matmul(
          new Uint8Array(matrix),
          x,
          columns,
          rounded,
          y,
          outputs,
          rows,
          first,
          end,
          memory
        )
        return y
      }
    }
  })
}

function canLoad(variant: Variant): boolean {
  try {
    return loadKernels({ variant }).variant === variant
  } catch {
    return false
  }
}

/** Where a block of a file has float16 scales. */
const SCALES: Partial<Readonly<Record<TensorType, readonly number[]>>> = {
  Q4_0: [0],
  Q4_1: [0, 2],
  Q5_0: [0],
  Q5_1: [0, 2],
  Q8_0: [0],
  Q2_K: [80, 82],
  Q3_K: [108],
  Q4_K: [0, 2],
  Q5_K: [0, 2],
  Q6_K: [208],
  IQ4_NL: [0],
  IQ4_XS: [0]
}

/** Floats between -1 and 1, the same for a seed. */
export function randomFloats(count: number, seed: number): Float32Array {
  let state = seed
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return (state >>> 8) / 2 ** 23 - 1
  })
}

/** Rows whose bits are all used and whose scales are like those of models. */
export function randomSource(type: TensorType, rows: number, columns: number): Source {
  const { blockSize, blockBytes, ggufId } = TYPE_FACTS[type]
  const values = randomFloats(rows * columns, ggufId + 1)
  if (type === 'F32') return { type, rows, bytes: new Uint8Array(values.buffer) }
  if (type === 'F16') return { type, rows, bytes: new Uint8Array(new Float16Array(values).buffer) }
  if (type === 'BF16') {
    const bits = Uint16Array.from(new Uint32Array(values.buffer), (word) => word >>> 16)
    return { type, rows, bytes: new Uint8Array(bits.buffer) }
  }
  const blocks = (rows * columns) / blockSize
  const bytes = Uint8Array.from(
    randomFloats(blocks * blockBytes, ggufId + 1),
    (value) => (value + 1) * 128
  )
  const scales = new DataView(bytes.buffer)
  for (let block = 0; block < blocks; block++) {
    for (const [i, at] of (SCALES[type] ?? []).entries()) {
      scales.setFloat16(block * blockBytes + at, values[2 * block + i]! * 0.02, true)
    }
    if (type === 'MXFP4') bytes[block * blockBytes] = 115 + (block % 9)
  }
  return { type, rows, bytes }
}
