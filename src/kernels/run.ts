// Runs programs on a pool of threads: one call for all operations of a run, whatever sessions it
// holds. Knows no sessions: a segment is rows at consecutive positions over pages that the caller
// owns.
import { ptr } from 'bun:ffi'
import { AppError, cancelled, computeError } from '../base/errors.ts'
import type { Additions } from './additions.ts'
import type { Kernels } from './kernels.ts'
import type { Address, Program } from './program.ts'

/** Rows of one session in a run. */
export interface Segment {
  /** Addresses of the session's pages, enough for the segment's last position. */
  readonly pages: BigUint64Array
  /** The program's block with which these pages begin. */
  readonly kvBlock: number
  /** Position of the first row. */
  readonly position: number
  readonly rows: number
  /** What its adapters add, at the program's slots. Default: nothing. */
  readonly additions?: Additions | undefined
}

export interface Run {
  /** Blocks [first, end) of the program. */
  readonly first: number
  readonly end: number
  /** Rows of all segments together, at most the program's maxRows. */
  readonly rows: number
  /** (rows, width) */
  readonly hidden: Float32Array
  /** (rows, width), written; may be `hidden`. */
  readonly result: Float32Array
  /** (rows, outWidth), written where the program has one. */
  readonly out?: Float32Array | undefined
  /** In order of their rows; none for a program without attention. */
  readonly segments?: readonly Segment[]
  /** One word of shared memory: the run ends early when it is not 0. */
  readonly abort?: Int32Array | undefined
  /**
   * Two words, of operations that were run already and of items of the next one: an aborted run
   * says there how far it came, and goes on from there if nothing else was run in the same arena.
   * With it a long operation ends early, too.
   */
  readonly done?: Int32Array | undefined
  /**
   * Address of the program's kept values, at a multiple of 64: rows * keptBytes, written and read.
   */
  readonly kept?: Address | undefined
}

/** Memory that runs need; what it holds is of one run, also between its parts. */
export class Arena {
  #memory = new Uint8Array(0)

  /** Its address, at a multiple of 64, with room for so many bytes. */
  address(bytes: number): Address {
    if (this.#memory.byteLength < bytes + 64) this.#memory = new Uint8Array(bytes + 64)
    return Math.ceil(Number(ptr(this.#memory)) / 64) * 64
  }
}

const DONE = 0
const ABORTED = 1
const NOT_FINITE = 4
const SEGMENT_BYTES = 40
const BATCH_BYTES = 88

/** A pool of threads and the memory that its runs need; runs one program at a time. */
export class Runner implements Disposable {
  readonly threads: number
  readonly #kernels: Kernels
  readonly #pool: Address
  readonly #batch = new DataView(new ArrayBuffer(BATCH_BYTES))
  #segments = new DataView(new ArrayBuffer(16 * SEGMENT_BYTES))
  readonly #arena = new Arena()
  /** Rows between both matrices of adapters. */
  #low = new Float32Array(0)

  constructor(kernels: Kernels, threads: number) {
    this.threads = threads
    this.#kernels = kernels
    this.#pool = kernels.openPool(threads)
  }

  /** Takes the memory that runs of this program need now, and not at the first run. */
  prepare(program: Program): void {
    this.#arena.address(this.arenaBytes(program))
  }

  /** Memory that a run of the program needs. */
  arenaBytes(program: Program): number {
    return this.#kernels.arenaBytes(program.address, this.threads)
  }

  /**
   * Runs in `arena`, by default the runner's own, which every run may use.
   * @throws AppError CANCELLED when `abort` ended it, COMPUTE when a result is no number
   */
  run(program: Program, run: Run, arena: Arena = this.#arena): void {
    const memory = arena.address(this.arenaBytes(program))
    const { rows, hidden, result, out, abort, done } = run
    const view = this.#batch
    view.setInt32(0, rows, true)
    view.setInt32(4, run.segments?.length ?? 0, true)
    view.setInt32(8, run.first, true)
    view.setInt32(12, run.end, true)
    const segments = this.#writeSegments(run.segments ?? [])
    const addresses = [hidden, result, out, segments, abort, done]
    for (const [index, memory] of addresses.entries()) {
      const address = memory === undefined ? 0n : BigInt(ptr(memory))
      view.setBigUint64(16 + 8 * index, address, true)
    }
    view.setBigUint64(64, BigInt(run.kept ?? 0), true)
    const lowStride = Math.max(
      0,
      ...(run.segments ?? []).map(({ additions }) => additions?.lowStride ?? 0)
    )
    if (this.#low.length < rows * lowStride) this.#low = new Float32Array(rows * lowStride)
    view.setBigUint64(72, lowStride === 0 ? 0n : BigInt(ptr(this.#low)), true)
    view.setBigInt64(80, BigInt(lowStride), true)
    const status = this.#kernels.run(program.address, Number(ptr(view)), memory, this.#pool)
    if (status === DONE) return
    if (status === ABORTED) throw cancelled('The step was ended')
    if (status === NOT_FINITE) throw new NotFinite(this.#badRow(program, run))
    throw new TypeError(`A run does not fit its program (${status})`)
  }

  /** Address of the segments' records. */
  #writeSegments(segments: readonly Segment[]): DataView {
    const size = segments.length * SEGMENT_BYTES
    if (this.#segments.byteLength < size) this.#segments = new DataView(new ArrayBuffer(2 * size))
    let row = 0
    for (const [index, { pages, kvBlock, position, rows, additions }] of segments.entries()) {
      const at = index * SEGMENT_BYTES
      const view = this.#segments
      view.setBigUint64(at, pages.length === 0 ? 0n : BigInt(ptr(pages)), true)
      view.setInt32(at + 8, pages.length, true)
      view.setInt32(at + 12, kvBlock, true)
      view.setInt32(at + 16, position, true)
      view.setInt32(at + 20, row, true)
      view.setInt32(at + 24, rows, true)
      view.setBigUint64(at + 32, BigInt(additions?.address ?? 0), true)
      row += rows
    }
    return this.#segments
  }

  #badRow(program: Program, { out, result, rows }: Run): number {
    const inOut =
      out === undefined ? -1 : this.#kernels.firstBadRow(Number(ptr(out)), rows, program.outWidth)
    if (inOut >= 0) return inOut
    return this.#kernels.firstBadRow(Number(ptr(result)), rows, program.width)
  }

  [Symbol.dispose](): void {
    this.#kernels.closePool(this.#pool)
  }
}

/** A run came to values that are no numbers. */
export class NotFinite extends AppError {
  /** The first row that has one; others may have, too. */
  readonly row: number

  constructor(row: number) {
    const { code, message } = computeError('The result is not finite')
    super(code, message)
    this.row = row
  }
}
