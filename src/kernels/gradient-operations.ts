// Operations of training for programs (c/program.h, PK_COPY and after): rows of whole sequences,
// each a segment that begins at position 0, and gradients of operations. arithmetic.ts says under
// "Training" what each computes. blocks/train writes programs of them.
import type {
  Activation,
  Address,
  AttentionOptions,
  ExpertsOptions,
  PackedMatrix,
  ProgramBuilder,
  Value
} from './program.ts'
import { activationNumber } from './program.ts'
import { Struct } from './struct.ts'

const NONE = -1

const CODE = {
  copy: 9,
  normBack: 10,
  matmulBack: 11,
  turn: 12,
  turnBack: 13,
  attend: 14,
  attendBack: 15,
  activateBack: 16,
  lora: 17,
  loraBack: 18,
  entropy: 19,
  softCapBack: 20,
  expertsBack: 21,
  drop: 24
}

/** into = from */
export function copy(builder: ProgramBuilder, into: Value, from: Value): void {
  same(into, from)
  builder.operation({ code: CODE.copy, values: [into.id, from.id] })
}

export interface NormBackOptions {
  readonly kind: 'rms' | 'layer'
  /** (width) */
  readonly weight: Address
  readonly epsilon: number
  /** Adds to `back`; otherwise sets it. */
  readonly adds: boolean
}

/** The gradient of a norm's input `x`, from that of its output. */
export function normBack(
  builder: ProgramBuilder,
  of: { x: Value; gradient: Value; back: Value },
  options: NormBackOptions
): void {
  const { x, gradient, back } = of
  same(x, gradient)
  same(x, back)
  builder.operation({
    code: CODE.normBack,
    values: [x.id, gradient.id, back.id],
    integer: options.adds ? 1 : 0,
    second: options.kind === 'layer' ? 1 : 0,
    float: options.epsilon,
    addresses: [options.weight]
  })
}

/**
 * The gradient of a product's input, from that of its output (the matrices' rows, side by side).
 */
export function matmulBack(
  builder: ProgramBuilder,
  of: { gradient: Value; back: Value },
  options: { matrices: readonly PackedMatrix[]; adds: boolean }
): void {
  const { matrices, adds } = options
  const rows = matrices.reduce((sum, matrix) => sum + matrix.rows, 0)
  if (rows !== of.gradient.width || matrices.some(({ columns }) => columns !== of.back.width)) {
    throw new RangeError('A gradient and its matrices differ in width')
  }
  builder.operation({
    code: CODE.matmulBack,
    values: [of.gradient.id, of.back.id],
    integer: matrices.length,
    second: adds ? 1 : 0,
    addresses: [builder.matrices(matrices)]
  })
}

/** Attention over whole sequences in two steps: queries and keys are prepared, then attended. */
export class SequenceAttention {
  readonly #builder: ProgramBuilder
  readonly #record: Address
  readonly #widths: { readonly qkv: number; readonly out: number }

  constructor(builder: ProgramBuilder, options: AttentionOptions) {
    const { heads, kvHeads, headDim } = options
    this.#builder = builder
    this.#record = builder.attentionRecord(options)
    this.#widths = { qkv: (heads + 2 * kvHeads) * headDim, out: heads * headDim }
  }

  /** prepared = qkv with norms of its heads, rotated by position. */
  turn(qkv: Value, prepared: Value): void {
    this.#check([qkv, prepared], [])
    this.#add(CODE.turn, [qkv.id, prepared.id])
  }

  /** back = the gradient of qkv, from that of `prepared`. */
  turnBack(of: { qkv: Value; gradient: Value; back: Value }): void {
    this.#check([of.qkv, of.gradient, of.back], [])
    this.#add(CODE.turnBack, [of.qkv.id, of.gradient.id, of.back.id])
  }

  attend(prepared: Value, out: Value): void {
    this.#check([prepared], [out])
    this.#add(CODE.attend, [prepared.id, out.id])
  }

  /** back = the gradient of `prepared`, from that of `out`. */
  attendBack(of: { prepared: Value; out: Value; gradient: Value; back: Value }): void {
    this.#check([of.prepared, of.back], [of.out, of.gradient])
    this.#add(CODE.attendBack, [of.prepared.id, of.out.id, of.gradient.id], of.back.id)
  }

  #add(code: number, values: readonly [number, number, number?], integer = 0): void {
    this.#builder.operation({ code, values, integer, addresses: [this.#record] })
  }

  #check(wide: readonly Value[], narrow: readonly Value[]): void {
    const { qkv, out } = this.#widths
    if (wide.some(({ width }) => width !== qkv) || narrow.some(({ width }) => width !== out)) {
      throw new RangeError('Attention and its rows differ in width')
    }
  }
}

/** back = the gradient of an activation's input `x`, from that of its output. */
export function activateBack(
  builder: ProgramBuilder,
  of: { x: Value; gradient: Value; back: Value },
  kind: Activation
): void {
  same(of.x, of.back)
  builder.operation({
    code: CODE.activateBack,
    values: [of.x.id, of.gradient.id, of.back.id],
    integer: activationNumber(kind)
  })
}

/** The gradient of the experts' input `x`, from that of their output; it is set, or added to. */
export function expertsBack(
  builder: ProgramBuilder,
  of: { x: Value; gradient: Value; back: Value },
  options: ExpertsOptions & { adds: boolean }
): void {
  same(of.x, of.gradient)
  same(of.x, of.back)
  builder.operation({
    code: CODE.expertsBack,
    values: [of.x.id, of.gradient.id, of.back.id],
    integer: options.adds ? 1 : 0,
    addresses: [builder.expertsRecord(options)]
  })
}

/** A low-rank addition to some columns of a product. Its memory must outlive the program. */
export interface Lora {
  readonly rank: number
  /** Factor of the product of both matrices. */
  readonly scale: number
  readonly inputs: number
  readonly outputs: number
  /** The first column of the product's output that it is added to. */
  readonly column: number
  /** `rank` up to a multiple of 16; zeros fill rows of so many values. */
  readonly stride: number
  /** A: (rank, inputs), and (inputs, stride). */
  readonly a: Float32Array
  readonly aTurned: Float32Array
  /** B: (outputs, stride), and (rank, outputs). */
  readonly b: Float32Array
  readonly bTurned: Float32Array
  /** Written by loraBack(): (rank, inputs), and B's transposed: (rank, outputs). */
  readonly aGradient: Float32Array
  readonly bGradient: Float32Array
}

/** low = (x A) * scale */
export function loraDown(
  builder: ProgramBuilder,
  of: { x: Value; low: Value },
  record: Address
): void {
  const values = [of.x.id, of.low.id, NONE] as const
  builder.operation({ code: CODE.lora, values, addresses: [record] })
}

/** out += low B */
export function loraUp(
  builder: ProgramBuilder,
  of: { low: Value; out: Value },
  record: Address
): void {
  const values = [NONE, of.low.id, of.out.id] as const
  builder.operation({ code: CODE.lora, values, addresses: [record] })
}

/**
 * Gradients of both matrices and of `low`; what `x` contributes is added to its gradient, or that
 * is set.
 */
export function loraBack(
  builder: ProgramBuilder,
  of: { x: Value; low: Value; gradient: Value; lowGradient: Value; back: Value },
  { record, adds }: { record: Address; adds: boolean }
): void {
  builder.operation({
    code: CODE.loraBack,
    values: [of.x.id, of.low.id, of.gradient.id],
    integer: of.lowGradient.id,
    second: of.back.id,
    float: adds ? 0 : 1,
    addresses: [record]
  })
}

/** Values of rows are dropped by chance. Its memory must outlive the program. */
export interface Dropout {
  /** Which share of the values is dropped, from 0 to below 1. */
  readonly share: number
  /** (maxRows): seeds of the rows, of 32 bits. */
  readonly seeds: Int32Array
}

/** A `struct pk_dropout`. */
export function dropoutRecord(builder: ProgramBuilder, { share, seeds }: Dropout): Address {
  const record = new Struct(16)
  record.i32(Math.floor(share * 2 ** 32))
  record.f32(1 / (1 - share))
  record.u64(builder.keep(seeds))
  return builder.keep(record.bytes)
}

/** into = from without what is dropped; or adds that. The same salt drops the same values. */
export function drop(
  builder: ProgramBuilder,
  of: { from: Value; into: Value },
  options: { record: Address; salt: number; adds: boolean }
): void {
  same(of.from, of.into)
  builder.operation({
    code: CODE.drop,
    values: [of.from.id, of.into.id],
    integer: options.salt,
    second: options.adds ? 1 : 0,
    addresses: [options.record]
  })
}

/** The mixing function of dropout's draws, of 32 bits: see arithmetic.ts. */
export function mixed(value: number): number {
  let own = value >>> 0
  own = Math.imul(own ^ (own >>> 16), 0x85ebca6b)
  own = Math.imul(own ^ (own >>> 13), 0xc2b2ae35)
  return (own ^ (own >>> 16)) >>> 0
}

const GOLDEN = 0x9e3779b9

/** The seed of a row of a sequence. */
export function rowSeed(sequenceSeed: number, position: number): number {
  return mixed(sequenceSeed + Math.imul(position, GOLDEN))
}

/** Targets of a run's rows, and what is reported of each row's loss. */
export interface EntropyMemory {
  /** (maxRows): index of the target among the row's logits; below 0: the row has no loss. */
  readonly targets: Int32Array
  /**
   * (2 + 2 * maxRows): the weight of each row's loss in the gradient, nothing, and from then on for
   * each row the sum of exp(logit - largest) and the target's logit - largest.
   */
  readonly facts: Float32Array
}

/** gradient = that of the rows' losses, -log of the target's share in the softmax of the logits. */
export function entropy(
  builder: ProgramBuilder,
  of: { logits: Value; gradient: Value },
  memory: EntropyMemory
): void {
  same(of.logits, of.gradient)
  builder.operation({
    code: CODE.entropy,
    values: [of.logits.id, of.gradient.id],
    addresses: [builder.keep(memory.targets), builder.keep(memory.facts)]
  })
}

/** The gradient of what was capped, in place, from the capped values. */
export function softCapBack(
  builder: ProgramBuilder,
  of: { capped: Value; gradient: Value },
  cap: number
): void {
  same(of.capped, of.gradient)
  const values = [of.capped.id, of.gradient.id] as const
  builder.operation({ code: CODE.softCapBack, values, float: cap })
}

/** A `struct pk_lora`. */
export function loraRecord(builder: ProgramBuilder, options: Lora): Address {
  const { rank, scale, inputs, outputs, column, stride } = options
  const { a, b, aTurned, bTurned, aGradient, bGradient } = options
  const record = new Struct(72)
  record.i32(rank, inputs, outputs, column)
  record.f32(scale)
  record.i32(stride)
  const matrices = [a, b, aTurned, bTurned, aGradient, bGradient]
  record.u64(...matrices.map((matrix) => builder.keep(matrix)))
  return builder.keep(record.bytes)
}

function same(a: Value, b: Value): void {
  if (a.width !== b.width) throw new RangeError(`Widths differ: ${a.width} and ${b.width}`)
}
