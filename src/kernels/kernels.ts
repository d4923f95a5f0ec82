// The kernels' functions as TypeScript calls them; load.ts finds the library.
import type { Address } from './program.ts'

/**
 * Instruction sets, from the plainest; `neon` is arm64's with dot products, `i8mm` that with
 * products of matrices.
 */
export const VARIANTS = ['plain', 'avx2', 'avx512', 'amx', 'neon', 'i8mm'] as const
export type Variant = (typeof VARIANTS)[number]

/** Rows of a model's file on their way into a packed matrix (pk_pack in c/products/forms.h). */
export interface PackJob {
  /** Numbers of `enum pk_form`: of the matrix, and of `source`. */
  readonly form: number
  readonly sourceForm: number
  readonly columns: number
  /** (count, columns), not aligned. */
  readonly source: Uint8Array
  /** Which row of the matrix at `packed` the source's first row is. */
  readonly first: number
  readonly count: number
  readonly packed: Uint8Array
}

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
  /**
   * Copies positions [0, positions) of blocks [first, end) from a page that begins with block
   * `first`.
   */
  copyPage(
    program: Address,
    copy: { first: number; end: number; from: bigint; to: bigint; positions: number }
  ): void
  /**
   * -1 if everything is packed, -2 if forms or columns do not fit, otherwise the first row of
   * `source` that is not finite.
   */
  pack(job: PackJob): number
  /** Bytes of a packed matrix; 0 if the form cannot hold it. */
  packedBytes(form: number, rows: number, columns: number): number
  /** First row with a value that is not finite, or -1. */
  firstBadRow(values: Address, rows: number, width: number): number
}
