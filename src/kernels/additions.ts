// What a session's adapters add at the slots of a program (c/program.h, struct pk_addition): low-
// rank products, and prompts to rows that enter a block. arithmetic.ts says under "Adapters" what
// is computed. Knows no adapters' files.
import { ptr } from 'bun:ffi'
import type { Address } from './program.ts'
import { Struct } from './struct.ts'

/** A low-rank addition to some columns of a product. */
export interface LowRank {
  readonly rank: number
  /** `rank` up to a multiple of 16: zeros fill rows of A up to it. */
  readonly stride: number
  /** Factor of the product of both matrices. */
  readonly scale: number
  readonly inputs: number
  readonly outputs: number
  /** The first column of the product that it is added to. */
  readonly column: number
  /** (inputs, stride): A, turned. */
  readonly a: Float32Array
  /** (rank, outputs): B, turned. */
  readonly b: Float32Array
}

/** At one slot: additions to a product in order, or rows (count, width) of a prompt. */
export type SlotAddition =
  | { readonly kind: 'product'; readonly loras: readonly LowRank[] }
  | { readonly kind: 'prompt'; readonly rows: Float32Array; readonly count: number }

/** Additions at all slots of a program, as runs take them. */
export interface Additions {
  readonly address: Address
  /** Floats between both matrices that one row needs at most. */
  readonly lowStride: number
  /** Memory that `address` and the records behind it point into. */
  readonly memory: readonly (Uint8Array | Float32Array)[]
}

const ADDITION_BYTES = 16
const LORA_BYTES = 72

/** `slots` of the program; those that are not in `at` add nothing. */
export function makeAdditions(slots: number, at: ReadonlyMap<number, SlotAddition>): Additions {
  const table = new Struct(ADDITION_BYTES * Math.max(1, slots))
  const memory: (Uint8Array | Float32Array)[] = [table.bytes]
  const keep = (one: Uint8Array | Float32Array): Address => {
    memory.push(one)
    return Number(ptr(one))
  }
  let lowStride = 0
  for (let slot = 0; slot < slots; slot++) {
    const addition = at.get(slot)
    if (addition === undefined) table.u64(0, 0)
    else if (addition.kind === 'prompt') table.u64(keep(addition.rows), addition.count)
    else {
      const { loras } = addition
      table.u64(keep(loraRecords(loras, keep)), loras.length)
      lowStride = Math.max(
        lowStride,
        loras.reduce((sum, { stride }) => sum + stride, 0)
      )
    }
  }
  return { address: Number(ptr(table.bytes)), lowStride, memory }
}

/** A `struct pk_lora[]`; what only training reads is null. */
function loraRecords(
  loras: readonly LowRank[],
  keep: (memory: Float32Array) => Address
): Uint8Array {
  const record = new Struct(LORA_BYTES * loras.length)
  for (const { rank, inputs, outputs, column, scale, stride, a, b } of loras) {
    record.i32(rank, inputs, outputs, column)
    record.f32(scale)
    record.i32(stride)
    record.u64(0, 0, keep(a), keep(b), 0, 0)
  }
  return record.bytes
}
