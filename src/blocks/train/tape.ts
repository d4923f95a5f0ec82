// One block as operations of a program, forwards or backwards. Each operation says how it is
// written, what its way back reads, and how gradients pass back through it. Backwards, rows that
// were kept are read and all others computed anew, but only where something reads them. Knows no
// model: train-parts.ts says which operations a block has.
import { copy } from '../../kernels/gradient-operations.ts'
import type { ProgramBuilder, Value } from '../../kernels/program.ts'
import type { ValuePool } from '../kernel/recorded-block.ts'

/** Rows that an operation makes, and their gradient once something was added to it. */
export interface Node {
  readonly width: number
  /** Absent before it is written, and after the last use. */
  value?: Value | undefined
  gradient?: Value | undefined
}

export interface TapeOperation {
  /** Floats per row of what it makes. */
  readonly width: number
  /** What write() reads. */
  readonly inputs: readonly Node[]
  readonly write: (out: Value) => void
  /** Costly: its rows are kept for the way back, if that reads them. Default false. */
  readonly isCostly?: boolean
  /** What back() reads. */
  readonly reads: readonly Node[]
  /** Whether back() reads what the operation made. Default false. */
  readonly readsOwn?: boolean
  /** Absent: no gradient passes back by itself. */
  readonly back?: (gradient: Value, own: Node) => void
}

interface Entry extends TapeOperation {
  readonly made: Node
}

export class Tape {
  readonly builder: ProgramBuilder
  readonly #pool: ValuePool
  /** Of kept values. */
  readonly #keptPool: ValuePool | undefined
  readonly #entries: Entry[] = []
  readonly #entryOf = new Map<Node, Entry>()

  /** Without `kept` nothing is kept: backwards, everything that is read is computed anew. */
  constructor(builder: ProgramBuilder, pools: { rows: ValuePool; kept?: ValuePool | undefined }) {
    this.builder = builder
    this.#pool = pools.rows
    this.#keptPool = pools.kept
  }

  add(operation: TapeOperation): Node {
    const made: Node = { width: operation.width }
    const entry = { ...operation, made }
    this.#entries.push(entry)
    this.#entryOf.set(made, entry)
    return made
  }

  /** Rows for a short time. */
  take(width: number): Value {
    return this.#pool.take(width)
  }

  /** Frees rows that nobody will read. */
  giveBack(value: Value): void {
    this.#pool.giveBack(value)
  }

  /** The gradient's rows of a node, for an operation that sets them or adds to them. */
  gradientOf(node: Node): { readonly back: Value; readonly adds: boolean } {
    if (node.gradient !== undefined) return { back: node.gradient, adds: true }
    node.gradient = this.take(node.width)
    return { back: node.gradient, adds: false }
  }

  /** Adds rows to a node's gradient. */
  addTo(node: Node, gradient: Value): void {
    const { back, adds } = this.gradientOf(node)
    if (adds) this.builder.add(back, gradient)
    else copy(this.builder, back, gradient)
  }

  /** Writes all operations, and `last` when `output` is written. */
  forwards(output: Node, last: (output: Value) => void): void {
    const kept = this.#layKept()
    const ends = new Map<Node, Entry>()
    for (const entry of this.#entries) for (const node of entry.inputs) ends.set(node, entry)
    for (const entry of this.#entries) {
      const { made, inputs, write } = entry
      made.value ??= this.take(made.width)
      write(made.value)
      for (const node of new Set(inputs)) {
        if (ends.get(node) === entry && node !== output) this.#free(node, kept)
      }
    }
    last(valueOf(output))
    for (const { made } of this.#entries) this.#free(made, kept)
    this.#end(kept)
  }

  /** Writes the way back, after the gradient of the block's output was set. */
  backwards(): void {
    const kept = this.#layKept()
    for (const { made, reads, readsOwn, back } of this.#entries.toReversed()) {
      if (made.gradient !== undefined && back !== undefined) {
        for (const node of reads) this.#ensure(node)
        if (readsOwn === true) this.#ensure(made)
        back(made.gradient, made)
      }
      if (made.gradient !== undefined) this.giveBack(made.gradient)
      made.gradient = undefined
      this.#free(made, kept)
    }
    this.#end(kept)
  }

  /** Places of what is kept, in the same order forwards and backwards. */
  #layKept(): ReadonlySet<Node> {
    const kept = new Set<Node>()
    const pool = this.#keptPool
    if (pool === undefined) return kept
    const wanted = new Set<Node>()
    const want = (node: Node): void => {
      const entry = this.#entryOf.get(node)
      if (entry === undefined || wanted.has(node)) return
      wanted.add(node)
      if (entry.isCostly !== true) for (const input of entry.inputs) want(input)
    }
    for (const { made, reads, readsOwn } of this.#entries) {
      for (const node of reads) want(node)
      if (readsOwn === true) want(made)
    }
    for (const { made, isCostly } of this.#entries) {
      if (isCostly !== true || !wanted.has(made)) continue
      made.value = pool.take(made.width)
      kept.add(made)
    }
    return kept
  }

  /** Computes a node anew, and what it is made from. */
  #ensure(node: Node): void {
    if (node.value !== undefined) return
    const entry = this.#entryOf.get(node)
    if (entry === undefined) throw new TypeError('Rows of a block have no place')
    for (const input of entry.inputs) this.#ensure(input)
    node.value = this.take(node.width)
    entry.write(node.value)
  }

  #free(node: Node, kept: ReadonlySet<Node>): void {
    if (node.value === undefined || kept.has(node) || !this.#entryOf.has(node)) return
    this.giveBack(node.value)
    node.value = undefined
  }

  #end(kept: ReadonlySet<Node>): void {
    for (const { value } of kept) if (value !== undefined) this.#keptPool?.giveBack(value)
    this.#entries.length = 0
    this.#entryOf.clear()
  }
}

/** The rows of a node that was written. */
export function valueOf({ value }: Node): Value {
  if (value === undefined) throw new TypeError('Rows are read before they are written')
  return value
}
