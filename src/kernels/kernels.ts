// The kernels' functions as they are called; load.ts finds the library that has them.
import type { Address } from './program.ts'

/** Instruction sets, from the plainest; `neon` is arm64's with dot products. */
export const VARIANTS = ['plain', 'avx2', 'avx512', 'amx', 'neon'] as const
export type Variant = (typeof VARIANTS)[number]

/** A loaded library. */
export interface Kernels {
  readonly variant: Variant
  /** Starts threads - 1 threads, which sleep between runs. */
  openPool(threads: number): Address
  closePool(pool: Address): void
  /** Bytes of memory that a run of the program needs. */
  arenaBytes(program: Address, threads: number): number
  /** A number of `enum pk_status`. */
  run(program: Address, batch: Address, arena: Address, pool: Address): number
  /** Copies positions [0, positions) of blocks [first, end) from a page that begins with `first`. */
  copyPage(
    program: Address,
    copy: { first: number; end: number; from: bigint; to: bigint; positions: number }
  ): void
  /** First row with a value that is not finite, or -1. */
  firstBadRow(values: Address, rows: number, width: number): number
}
