// Random weights, packed matrices, pages and runs for tests of the kernels.
import { ptr } from 'bun:ffi'
import type { Kernels } from '../../../src/kernels/kernels.ts'
import type { Address, PackedMatrix, Program } from '../../../src/kernels/program.ts'
import type { Run, Runner } from '../../../src/kernels/run.ts'

export const F32 = 0
export const I4 = 100
export const I8 = 101

/** The same numbers on every machine. */
export class Numbers {
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  /** In [-1, 1). */
  next(): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0
    return (this.#state >>> 8) / 2 ** 23 - 1
  }

  floats(length: number, scale = 1, offset = 0): Float32Array {
    return Float32Array.from({ length }, () => this.next() * scale + offset)
  }
}

/** Memory that stays where it is while the test runs. */
const kept: ArrayBufferView[] = []

export function addressOf(memory: Float32Array | Uint8Array): Address {
  kept.push(memory)
  return Number(ptr(memory))
}

export function aligned(bytes: number): Uint8Array {
  // A small array without a buffer of its own moves when it gets one.
  const memory = new Uint8Array(new ArrayBuffer(bytes + 64))
  kept.push(memory)
  const offset = (64 - (Number(ptr(memory)) % 64)) % 64
  return memory.subarray(offset, offset + bytes)
}

/** A matrix and the floats (rows, columns) it was packed from. */
export interface TestMatrix extends PackedMatrix {
  readonly source: Float32Array
}

export function matrix(
  kernels: Kernels,
  numbers: Numbers,
  shape: { rows: number; columns: number; form?: number; bias?: Float32Array }
): TestMatrix {
  const { rows, columns, form = F32, bias } = shape
  const source = numbers.floats(rows * columns, 1 / Math.sqrt(columns))
  const packed = aligned(kernels.packedBytes(form, rows, columns))
  const packing = { form, sourceForm: F32, columns, first: 0, count: rows, packed }
  const result = kernels.pack({ ...packing, source: new Uint8Array(source.buffer) })
  if (result !== -1) throw new Error(`pack() says ${result}`)
  return {
    data: addressOf(packed),
    form,
    rows,
    columns,
    source,
    ...(bias === undefined ? {} : { bias: addressOf(bias) })
  }
}

/** Pages for so many positions, full of numbers that must never be looked at. */
export function pages(program: Program, positions: number): BigUint64Array {
  const bytes = program.blockOffsets.at(-1) ?? 0
  return BigUint64Array.from({ length: Math.ceil(positions / program.pagePositions) }, () => {
    const page = aligned(bytes)
    page.fill(0xff)
    return BigInt(addressOf(page))
  })
}

/** Rows through all blocks, `cut` rows at a time. */
export function runRows(
  runner: Runner,
  program: Program,
  hidden: Float32Array,
  cut: number,
  session: BigUint64Array = pages(program, hidden.length / program.width)
): Float32Array {
  const { width } = program
  const count = hidden.length / width
  const result = new Float32Array(hidden.length)
  for (let position = 0; position < count; position += cut) {
    const rows = Math.min(cut, count - position)
    const part = { pages: session, kvBlock: 0, position, rows }
    const at = [position * width, (position + rows) * width] as const
    const run: Run = {
      first: 0,
      end: program.blocks,
      rows,
      hidden: hidden.slice(...at),
      result: result.subarray(...at),
      segments: program.pagePositions === 0 ? [] : [part]
    }
    runner.run(program, run)
  }
  return result
}

export function hashOf(values: Float32Array): string {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  return Bun.hash.xxHash3(bytes).toString(16)
}

/** Largest difference, beside the largest number expected. */
export function worst(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) throw new Error('Lengths differ')
  let most = 0
  let size = 0
  for (let i = 0; i < expected.length; i++) {
    most = Math.max(most, Math.abs((actual[i] ?? 0) - (expected[i] ?? 0)))
    if (Number.isNaN(actual[i])) return Number.NaN
    size = Math.max(size, Math.abs(expected[i] ?? 0))
  }
  return most / size
}
