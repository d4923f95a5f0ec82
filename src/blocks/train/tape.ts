// One block, written forwards and then backwards as operations of a program. Each operation records
// on the tape how gradients pass back through it; backwards, the tape is run from its end. Knows no
// model: train-parts.ts says which operations a block has.
import { copy } from '../../kernels/gradient-operations.ts'
import type { ProgramBuilder, Value } from '../../kernels/program.ts'
import type { ValuePool } from '../kernel/recorded-block.ts'

/** Rows that an operation made, and their gradient once something was added to it. */
export interface Node {
  readonly value: Value
  gradient?: Value
}

interface Entry {
  readonly made: Node
  /** Further rows that are needed as long. */
  readonly beside: readonly Value[]
  readonly back: (gradient: Value) => void
}

export class Tape {
  readonly builder: ProgramBuilder
  readonly #pool: ValuePool
  readonly #entries: Entry[] = []

  constructor(builder: ProgramBuilder, pool: ValuePool) {
    this.builder = builder
    this.#pool = pool
  }

  /** Rows that stay until the tape ends. */
  take(width: number): Value {
    return this.#pool.take(width)
  }

  /** Frees rows that nobody will read. */
  giveBack(value: Value): void {
    this.#pool.giveBack(value)
  }

  /** Records how the gradient of `made` passes to what it was made from, using `beside`. */
  record(made: Node, back: Entry['back'], beside: readonly Value[] = []): Node {
    this.#entries.push({ made, back, beside })
    return made
  }

  /** The gradient's rows of a node, for an operation that sets them or adds to them. */
  gradientOf(node: Node): { readonly back: Value; readonly adds: boolean } {
    if (node.gradient !== undefined) return { back: node.gradient, adds: true }
    node.gradient = this.take(node.value.width)
    return { back: node.gradient, adds: false }
  }

  /** Adds rows to a node's gradient. */
  addTo(node: Node, gradient: Value): void {
    const { back, adds } = this.gradientOf(node)
    if (adds) this.builder.add(back, gradient)
    else copy(this.builder, back, gradient)
  }

  /** Runs back to the beginning and frees rows when they are no longer needed. */
  back(): void {
    for (const { made, back, beside } of this.#entries.splice(0).reverse()) {
      if (made.gradient !== undefined) {
        back(made.gradient)
        this.giveBack(made.gradient)
      }
      for (const value of [made.value, ...beside]) this.giveBack(value)
    }
  }

  /** Frees everything without running back. */
  end(): void {
    for (const { made, beside } of this.#entries.splice(0)) {
      for (const value of [made.value, ...beside]) this.giveBack(value)
    }
  }
}
