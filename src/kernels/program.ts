// Writes programs for the kernels: the operations of a span's blocks, or of a head, written once
// and run by one call (run.ts). c/program.h has the same records; arithmetic.ts says what each
// operation computes. Knows no models and no sessions. Addresses point to memory that outlives the
// program.
import { ptr } from 'bun:ffi'
import { Struct } from './struct.ts'

/** Memory that C code reads. */
export type NativeMemory = Uint8Array | Int32Array | BigUint64Array | Float32Array

/** An address of native memory. */
export type Address = number

/** Rows of floats inside a program; only valid for the builder that made them. */
export interface Value {
  readonly id: number
  /** Floats per row. */
  readonly width: number
}

/** A packed matrix (rows, columns): y[n] = sum over k of weight[n][k] * x[k]. */
export interface PackedMatrix {
  /** At a multiple of 64 bytes, as pk_pack wrote it. */
  readonly data: Address
  /** A number of `enum pk_form`. */
  readonly form: number
  readonly rows: number
  readonly columns: number
  /** (rows) floats, added to each product. Default: none. */
  readonly bias?: Address | undefined
}

export type KvType = 'f16' | 'f32' | 'int8'
export type Activation = 'swiglu' | 'geglu-tanh' | 'geglu-erf' | 'gelu-tanh' | 'gelu-erf' | 'silu'

const KV_TYPES: readonly KvType[] = ['f16', 'f32', 'int8']
const ACTIVATIONS: readonly Activation[] = [
  'swiglu',
  'geglu-tanh',
  'geglu-erf',
  'gelu-tanh',
  'gelu-erf',
  'silu'
]

/** A number of `enum pk_activation`. */
export function activationNumber(kind: Activation): number {
  return ACTIVATIONS.indexOf(kind)
}

export interface ProgramOptions {
  /** Floats per hidden row. */
  readonly width: number
  /** Floats per row of `out`, e.g. logits. Default: none. */
  readonly outWidth?: number
  /** Most rows of one run. Default 256. */
  readonly maxRows?: number
  /** How keys and values are held. Default 'f16'. */
  readonly kv?: KvType
  /** Positions of a page, a multiple of 16. Default 32. */
  readonly pagePositions?: number
  /** Rows are not rounded to int8 for integer weights either: slow, for proofs. Default false. */
  readonly floatActivations?: boolean
}

export interface NormOptions {
  readonly kind: 'rms' | 'layer'
  /** (width) */
  readonly weight: Address
  /** (width), of layer norms. */
  readonly bias?: Address | undefined
  readonly epsilon: number
  /** Added to the value in place before it is normed. Default: nothing. */
  readonly branch?: Value | undefined
}

/** Tables (positions, rotary / 2) of cosines and sines; rope.ts makes them. */
export interface RopeAddresses {
  readonly cos: Address
  readonly sin: Address
  readonly positions: number
  /** Values of each head that are rotated, in pairs (i, i + rotary / 2); at most headDim. */
  readonly rotary: number
}

export interface AttentionOptions {
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  /** Default headDim ** -0.5. */
  readonly scale?: number | undefined
  /** Positions that a row sees, including its own. Default: all. */
  readonly window?: number | undefined
  /** Scores become cap * tanh(score / cap). Default: none. */
  readonly softCap?: number | undefined
  readonly rope?: RopeAddresses | undefined
  /** RMS norms of each query's and key's head before rotation, (headDim) weights each. */
  readonly headNorms?: { query: Address; key: Address; epsilon: number } | undefined
  /** (heads), times (key's position - row's position) is added to scaled scores. Default: none. */
  readonly slopes?: Address | undefined
  /** (heads): a score that takes its share of the softmax without a value. Default: none. */
  readonly sinks?: Address | undefined
}

export interface ExpertsOptions {
  readonly router: PackedMatrix
  /** (2 * ffn, width) and (width, ffn) of each expert. */
  readonly experts: readonly { readonly gateUp: PackedMatrix; readonly down: PackedMatrix }[]
  /** Experts of each row. */
  readonly chosen: number
  /**
   * Weights are from the softmax over all experts; otherwise over the chosen ones. Default false.
   */
  readonly sharesOfAll?: boolean | undefined
  /** Default 'swiglu'. */
  readonly activation?: 'swiglu' | 'geglu-tanh' | 'geglu-erf'
}

const CODE = {
  norm: 1,
  matmul: 2,
  attention: 3,
  activate: 4,
  experts: 5,
  add: 6,
  softCap: 7,
  scale: 8,
  adapt: 22,
  prompt: 23
}
const NONE = -1
const MAGIC = 0x31304b50
const VERSION = 2
/** Keys of this many positions are interleaved. */
const LANES = 16

/** A `struct pk_op`. */
export interface Operation {
  readonly code: number
  readonly values: readonly [number, number?, number?]
  readonly integer?: number
  readonly second?: number
  readonly float?: number
  readonly addresses?: readonly [Address, Address?]
}

/** A finished program; `address` is that of a `struct pk_program`. */
export interface Program {
  readonly address: Address
  readonly width: number
  readonly outWidth: number
  readonly maxRows: number
  readonly blocks: number
  /** Where sessions' adapters may add something: see additions.ts. */
  readonly slots: number
  /** 0 without attention. */
  readonly pagePositions: number
  readonly kv: KvType
  /**
   * Byte offsets of blocks in a page, and the end of the last: bytes of a page of blocks [first,
   * last) follow from them.
   */
  readonly blockOffsets: readonly number[]
  /** Bytes of kept values per row. */
  readonly keptBytes: number
  /** Memory that `address` and the records behind it point into. */
  readonly memory: readonly NativeMemory[]
}

/** Bytes that a page takes for one block. */
export function kvBlockBytes(
  kv: KvType,
  shape: { kvHeads: number; headDim: number; pagePositions: number }
): number {
  const { kvHeads, headDim, pagePositions } = shape
  const element = { f16: 2, f32: 4, int8: 1 }[kv]
  const values = pagePositions * (headDim + Math.ceil(headDim / LANES) * LANES) * element
  const scales = kv === 'int8' ? 2 * pagePositions * 4 : 0
  return kvHeads * Math.ceil((values + scales) / 64) * 64
}

/**
 * Operations in order. `block()` starts each block. A run may use only blocks [a, b), so each block
 * leaves everything that the next one needs in `hidden`.
 */
export class ProgramBuilder {
  /** (width): the incoming rows, and the result after the last operation. */
  readonly hidden: Value
  /** (outWidth): rows of their own, e.g. logits; only with `outWidth`. */
  readonly out: Value
  readonly #options: Required<ProgramOptions>
  readonly #widths: number[]
  /** Ids of kept values. */
  readonly #kept = new Set<number>()
  readonly #ops: Operation[] = []
  readonly #memory: NativeMemory[] = []
  readonly #blockOps: number[] = []
  readonly #blockOffsets: number[] = [0]
  #attends = false
  #slots = 0
  #offset = 0

  constructor(options: ProgramOptions) {
    const { width, outWidth = 0, maxRows = 256, kv = 'f16', pagePositions = 32 } = options
    if (pagePositions % LANES !== 0) throw new RangeError(`Pages of ${pagePositions} positions`)
    const floatActivations = options.floatActivations ?? false
    this.#options = { width, outWidth, maxRows, kv, pagePositions, floatActivations }
    this.#widths = [width, outWidth]
    this.hidden = { id: 0, width }
    this.out = { id: 1, width: outWidth }
  }

  /** New rows in the run's memory; values of different blocks may share it. */
  value(width: number): Value {
    return { id: this.#widths.push(width) - 1, width }
  }

  /** New rows in memory that the caller keeps from run to run, in the order of these calls. */
  kept(width: number): Value {
    const value = this.value(width)
    this.#kept.add(value.id)
    return value
  }

  /** Starts the next block. A head is one block. */
  block(): void {
    this.#blockOps.push(this.#ops.length)
    if (this.#blockOps.length > 1) this.#blockOffsets.push(this.#offset)
  }

  /** out = norm(x), or norm(x += branch). `out` may be `x`. */
  norm(x: Value, out: Value, options: NormOptions): void {
    const { weight, bias, epsilon, branch, kind } = options
    same(x.width, out.width)
    if ((kind === 'layer') !== (bias !== undefined)) throw new TypeError('Layer norms have a bias')
    this.#ops.push({
      code: CODE.norm,
      values: [x.id, out.id, branch?.id ?? NONE],
      float: epsilon,
      addresses: [weight, bias ?? 0]
    })
  }

  /** out = x times the matrices, concatenated; or residual += it, through `out`. */
  matmul(x: Value, out: Value, matrices: readonly PackedMatrix[], residual?: Value): void {
    const rows = matrices.reduce((sum, matrix) => sum + matrix.rows, 0)
    same(rows, out.width)
    for (const { columns } of matrices) same(columns, x.width)
    if (residual !== undefined) same(rows, residual.width)
    this.#ops.push({
      code: CODE.matmul,
      values: [x.id, out.id, residual?.id ?? NONE],
      integer: matrices.length,
      addresses: [this.matrices(matrices)]
    })
  }

  /**
   * Causal attention of each row over its session's pages, to which the row's own key and value are
   * added first. qkv is (heads + 2 * kvHeads) * headDim wide and is overwritten; out is heads *
   * headDim wide.
   */
  attention(qkv: Value, out: Value, options: AttentionOptions): void {
    const { heads, kvHeads, headDim } = options
    const { kv, pagePositions } = this.#options
    same((heads + 2 * kvHeads) * headDim, qkv.width)
    same(heads * headDim, out.width)
    const at = this.attentionRecord(options)
    this.#offset += kvBlockBytes(kv, { kvHeads, headDim, pagePositions })
    this.#attends = true
    this.#ops.push({ code: CODE.attention, values: [qkv.id, out.id], addresses: [at] })
  }

  /**
   * Gated kinds take gate and up side by side, twice the width of out; the others have its width.
   */
  activate(x: Value, out: Value, kind: Activation): void {
    const gated = kind === 'swiglu' || kind.startsWith('geglu')
    same(x.width, gated ? 2 * out.width : out.width)
    const integer = activationNumber(kind)
    this.#ops.push({ code: CODE.activate, values: [x.id, out.id], integer })
  }

  /** out = each row through its experts; or residual += it, through `out`. */
  experts(x: Value, out: Value, options: ExpertsOptions, residual?: Value): void {
    same(x.width, out.width)
    this.#ops.push({
      code: CODE.experts,
      values: [x.id, out.id, residual?.id ?? NONE],
      addresses: [this.expertsRecord(options)]
    })
  }

  /** A `struct pk_experts`. */
  expertsRecord(options: ExpertsOptions): Address {
    const { router, experts, chosen, sharesOfAll = false, activation = 'swiglu' } = options
    same(router.rows, experts.length)
    const record = new Struct(40)
    record.i32(experts.length, chosen, sharesOfAll ? 1 : 0, activationNumber(activation))
    record.u64(this.matrices([router]))
    record.u64(this.matrices(experts.map(({ gateUp }) => gateUp)))
    record.u64(this.matrices(experts.map(({ down }) => down)))
    return this.keep(record.bytes)
  }

  /** into += from */
  add(into: Value, from: Value): void {
    same(into.width, from.width)
    this.#ops.push({ code: CODE.add, values: [into.id, from.id] })
  }

  /** x = cap * tanh(x / cap) */
  softCap(x: Value, cap: number): void {
    this.#ops.push({ code: CODE.softCap, values: [x.id], float: cap })
  }

  /** x *= factor */
  scale(x: Value, factor: number): void {
    this.#ops.push({ code: CODE.scale, values: [x.id], float: factor })
  }

  /**
   * out += what adapters of each row's session add to a product of x.
   * @returns the slot of these additions
   */
  adapt(x: Value, out: Value): number {
    const slot = this.#slots++
    this.#ops.push({ code: CODE.adapt, values: [x.id, out.id], integer: slot })
    return slot
  }

  /**
   * x += the row of its session's prompt at the row's position.
   * @returns the slot of these prompts
   */
  prompt(x: Value): number {
    const slot = this.#slots++
    this.#ops.push({ code: CODE.prompt, values: [x.id], integer: slot })
    return slot
  }

  /** The program, with its own memory. Nothing may be added afterwards. */
  build(): Program {
    const { width, outWidth, maxRows, kv, floatActivations } = this.#options
    const blocks = this.#blockOps.length
    if (blocks === 0) throw new TypeError('A program has at least one block')
    const pagePositions = this.#attends ? this.#options.pagePositions : 0
    const blockOffsets = [...this.#blockOffsets, this.#offset]
    const kept = Int32Array.from(this.#widths, (_, id) => (this.#kept.has(id) ? 1 : 0))
    const header = new Struct(72)
    header.i32(MAGIC, VERSION, maxRows, this.#widths.length, this.#ops.length, blocks)
    header.i32(pagePositions, floatActivations ? 1 : 0)
    header.u64(this.keep(Int32Array.from(this.#widths)), this.keep(this.#encodedOps()))
    header.u64(this.keep(Int32Array.from([...this.#blockOps, this.#ops.length])))
    header.u64(this.keep(BigUint64Array.from(blockOffsets, BigInt)), this.keep(kept))
    const address = this.keep(header.bytes)
    const memory = this.#memory
    return {
      address,
      width,
      outWidth,
      maxRows,
      blocks,
      slots: this.#slots,
      pagePositions,
      kv,
      blockOffsets,
      keptBytes: [...this.#kept].reduce((sum, id) => sum + rowBytes(this.#widths[id] ?? 0), 0),
      memory
    }
  }

  #encodedOps(): Uint8Array {
    const record = new Struct(48 * this.#ops.length)
    for (const { code, values, integer = 0, second = 0, float = 0, addresses = [0] } of this.#ops) {
      record.i32(code, values[0], values[1] ?? NONE, values[2] ?? NONE, integer, second)
      record.f32(float, 0)
      record.u64(addresses[0], addresses[1] ?? 0)
    }
    return record.bytes
  }

  /** Any operation; the caller has checked the widths. */
  operation(operation: Operation): void {
    this.#ops.push(operation)
  }

  /** A `struct pk_attention`, whose keys and values are where the next attention's will be. */
  attentionRecord(options: AttentionOptions): Address {
    const { heads, kvHeads, headDim, rope, headNorms } = options
    const { kv } = this.#options
    const record = new Struct(96)
    record.i32(heads, kvHeads, headDim, options.window ?? 0)
    record.f32(options.scale ?? headDim ** -0.5, options.softCap ?? 0, headNorms?.epsilon ?? 0)
    record.i32(rope?.rotary ?? 0, rope?.positions ?? 0, KV_TYPES.indexOf(kv))
    record.u64(this.#offset, rope?.cos ?? 0, rope?.sin ?? 0)
    record.u64(headNorms?.query ?? 0, headNorms?.key ?? 0)
    record.u64(options.slopes ?? 0, options.sinks ?? 0)
    return this.keep(record.bytes)
  }

  /** A `struct pk_matrix[]`. */
  matrices(matrices: readonly PackedMatrix[]): Address {
    const record = new Struct(32 * matrices.length)
    for (const { data, form, rows, columns, bias = 0 } of matrices) {
      record.u64(data)
      record.i32(form, rows, columns, 0)
      record.u64(bias)
    }
    return this.keep(record.bytes)
  }

  /** The address of memory that is kept as long as the program. */
  keep(memory: NativeMemory): Address {
    this.#memory.push(memory)
    return Number(ptr(memory))
  }
}

/** As c/executor.c lays rows: at multiples of 64 bytes, but never of 2048. */
function rowBytes(width: number): number {
  const bytes = Math.ceil(width / 16) * 64
  return bytes % 2048 === 0 ? bytes + 64 : bytes
}

function same(width: number, other: number): void {
  if (width !== other) throw new RangeError(`Widths differ: ${width} and ${other}`)
}
