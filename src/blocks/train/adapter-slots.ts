// Memory of an adapter's matrices at addresses that programs know: an adapter is copied into it
// before a run, and gradients are copied out afterwards.
import type { BlockSpan } from '../../base/block-span.ts'
import { badInput } from '../../base/errors.ts'
import type { Lora } from '../../kernels/gradient-operations.ts'
import type { ModelConfig } from '../../model/types.ts'
import {
  adapterParts,
  blockNumbers,
  targetParts,
  type AdapterPart,
  type AdapterShape
} from './adapter-shape.ts'

interface Slot {
  readonly part: AdapterPart
  readonly lora: Lora
}

/**
 * Bytes of the memory for blocks of a span: both orders, and the gradients.
 * @throws AppError BAD_INPUT, UNSUPPORTED
 */
export function slotBytes(
  config: ModelConfig,
  shape: AdapterShape,
  { start, end }: BlockSpan
): number {
  const parts = targetParts(config, shape)
  return (end - start) * blockNumbers(parts, strideOf(shape.rank)) * 4 * 3
}

/** Targets of a block, whose numbers tell their dropout apart. */
const MOST_TARGETS = 64

export interface SaltedLora {
  readonly lora: Lora
  readonly salt: number
}

export class AdapterSlots {
  readonly #shape: AdapterShape
  readonly #parts: readonly AdapterPart[]
  readonly #all: readonly AdapterPart[]
  readonly #first: number
  /** A copy of what fill() took last. */
  #filled: { readonly range: BlockSpan; readonly values: Float32Array } | undefined
  readonly #blocks: readonly (readonly Slot[])[]

  /** For blocks of a span. @throws AppError BAD_INPUT, UNSUPPORTED */
  constructor(config: ModelConfig, shape: AdapterShape, { start, end }: BlockSpan) {
    this.#shape = shape
    this.#first = start
    this.#parts = targetParts(config, shape)
    this.#all = adapterParts(config)
    const parts = this.#parts
    this.#blocks = Array.from({ length: end - start }, () =>
      parts.map((part) => ({ part, lora: emptyLora(part, shape) }))
    )
  }

  /** Additions to a group's product, each with a number of its own for dropout. */
  loras(block: number, group: string): readonly SaltedLora[] {
    const slots = this.#blocks[block - this.#first] ?? []
    return slots
      .filter(({ part }) => part.group === group)
      .map(({ part, lora }) => ({ lora, salt: block * MOST_TARGETS + this.#numberOf(part) }))
  }

  #numberOf({ target }: AdapterPart): number {
    return this.#all.findIndex((part) => part.target === target)
  }

  /**
   * Copies in the numbers of blocks [start, end), in the order of adapter-shape.ts.
   * @throws AppError BAD_INPUT
   */
  fill(range: BlockSpan, values: Float32Array): void {
    const expected = (range.end - range.start) * blockNumbers(this.#parts, this.#shape.rank)
    if (values.length !== expected) {
      throw badInput(`An adapter of ${values.length} numbers cannot be used: it needs ${expected}`)
    }
    if (this.#isFilled(range, values)) return
    let at = 0
    const next = (count: number): Float32Array => values.subarray(at, (at += count))
    for (const { lora } of this.#slotsOf(range)) {
      const { rank, inputs, outputs } = lora
      const [a, b] = [next(rank * inputs), next(outputs * rank)]
      lora.a.set(a)
      turn(a, lora.aTurned, { columns: inputs, stride: lora.stride })
      for (let row = 0; row < outputs; row++) {
        lora.b.set(b.subarray(row * rank, (row + 1) * rank), row * lora.stride)
      }
      turn(b, lora.bTurned, { columns: rank, stride: outputs })
    }
    this.#filled = { range, values: values.slice() }
  }

  /** All micro-batches of a step have the same numbers. */
  #isFilled({ start, end }: BlockSpan, values: Float32Array): boolean {
    const { range, values: old } = this.#filled ?? {}
    if (range?.start !== start || range.end !== end || old?.length !== values.length) return false
    return Buffer.compare(bytesOf(old), bytesOf(values)) === 0
  }

  /** The gradients of the numbers that fill() took. */
  gradients(range: BlockSpan): Float32Array {
    const count = (range.end - range.start) * blockNumbers(this.#parts, this.#shape.rank)
    const values = new Float32Array(count)
    let at = 0
    for (const { lora } of this.#slotsOf(range)) {
      const { rank, inputs, outputs, aGradient, bGradient } = lora
      values.set(aGradient, at)
      at += rank * inputs
      turn(bGradient, values.subarray(at, at + outputs * rank), { columns: outputs, stride: rank })
      at += outputs * rank
    }
    return values
  }

  #slotsOf({ start, end }: BlockSpan): readonly Slot[] {
    return this.#blocks.slice(start - this.#first, end - this.#first).flat()
  }
}

function emptyLora({ inputs, outputs, column }: AdapterPart, shape: AdapterShape): Lora {
  const { rank, scale } = shape
  const stride = strideOf(rank)
  const memory = (count: number): Float32Array => new Float32Array(new ArrayBuffer(4 * count))
  return {
    rank,
    scale,
    inputs,
    outputs,
    column,
    stride,
    a: memory(rank * inputs),
    aTurned: memory(stride * inputs),
    b: memory(outputs * stride),
    bTurned: memory(outputs * rank),
    aGradient: memory(rank * inputs),
    bGradient: memory(rank * outputs)
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}

/** Kernels take whole vectors of 16. */
function strideOf(rank: number): number {
  return Math.ceil(rank / 16) * 16
}

/** Rows of `columns` values become columns, in rows of `stride` values. */
function turn(
  from: Float32Array,
  to: Float32Array,
  { columns, stride }: { columns: number; stride: number }
): void {
  const rows = from.length / columns
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      to[column * stride + row] = from[row * columns + column]!
    }
  }
}
