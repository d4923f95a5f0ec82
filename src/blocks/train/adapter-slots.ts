// Memory of an adapter's matrices where programs have their addresses: an adapter is copied into it
// before a run, and gradients are copied out of it afterwards.
import type { BlockSpan } from '../../base/block-span.ts'
import { badInput } from '../../base/errors.ts'
import type { Lora } from '../../kernels/gradient-operations.ts'
import type { ModelConfig } from '../../model/types.ts'
import { blockNumbers, targetParts, type AdapterPart, type AdapterShape } from './adapter-shape.ts'

interface Slot {
  readonly part: AdapterPart
  readonly lora: Lora
}

export class AdapterSlots {
  readonly sizeBytes: number
  readonly #shape: AdapterShape
  readonly #parts: readonly AdapterPart[]
  readonly #first: number
  readonly #blocks: readonly (readonly Slot[])[]

  /** For blocks of a span. @throws AppError BAD_INPUT, UNSUPPORTED */
  constructor(config: ModelConfig, shape: AdapterShape, { start, end }: BlockSpan) {
    this.#shape = shape
    this.#first = start
    this.#parts = targetParts(config, shape)
    const parts = this.#parts
    this.#blocks = Array.from({ length: end - start }, () =>
      parts.map((part) => ({ part, lora: emptyLora(part, shape) }))
    )
    // Both orders, and the gradients.
    this.sizeBytes = (end - start) * blockNumbers(parts, shape.rank) * 4 * 3
  }

  loras(block: number, group: string): readonly Lora[] {
    const slots = this.#blocks[block - this.#first] ?? []
    return slots.filter(({ part }) => part.group === group).map(({ lora }) => lora)
  }

  /**
   * Takes the numbers of blocks [start, end), as adapter-shape.ts says how they lie.
   * @throws AppError BAD_INPUT
   */
  fill(range: BlockSpan, values: Float32Array): void {
    const expected = (range.end - range.start) * blockNumbers(this.#parts, this.#shape.rank)
    if (values.length !== expected) {
      throw badInput(`An adapter of ${values.length} numbers cannot be used: it needs ${expected}`)
    }
    let at = 0
    const next = (count: number): Float32Array => values.subarray(at, (at += count))
    for (const { lora } of this.#slotsOf(range)) {
      const { rank, inputs, outputs } = lora
      lora.a.set(next(rank * inputs))
      turn(lora.a, lora.aTurned, inputs)
      lora.b.set(next(outputs * rank))
      turn(lora.b, lora.bTurned, rank)
    }
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
      turn(bGradient, values.subarray(at, at + outputs * rank), outputs)
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
  const memory = (count: number): Float32Array => new Float32Array(new ArrayBuffer(4 * count))
  return {
    rank,
    scale,
    inputs,
    outputs,
    column,
    a: memory(rank * inputs),
    aTurned: memory(rank * inputs),
    b: memory(outputs * rank),
    bTurned: memory(outputs * rank),
    aGradient: memory(rank * inputs),
    bGradient: memory(rank * outputs)
  }
}

/** Rows of `columns` values become columns. */
function turn(from: Float32Array, to: Float32Array, columns: number): void {
  const rows = from.length / columns
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      to[column * rows + row] = from[row * columns + column]!
    }
  }
}
