// Nodes of an ONNX graph that are written forwards and then backwards: each says how its gradient
// passes to what it was made from. Knows no models; gradient-parts.ts says which nodes a block has.
import type { GraphBuilder, NodeOptions, Value } from '../builder.ts'
import { constantIntegers } from '../parts.ts'

/** A value, and its gradient once something was added to it. */
export interface Traced {
  readonly value: Value
  gradient?: Value
}

interface Entry {
  readonly made: Traced
  readonly back: (gradient: Value) => void
}

export class GradientTape {
  readonly builder: GraphBuilder
  readonly #entries: Entry[] = []

  constructor(builder: GraphBuilder) {
    this.builder = builder
  }

  /** A value and its way back, which adds to the gradients of what it was made from. */
  record(value: Value, back: Entry['back']): Traced {
    const made: Traced = { value }
    this.#entries.push({ made, back })
    return made
  }

  /** Adds to a gradient. */
  addTo(node: Traced, gradient: Value): void {
    node.gradient =
      node.gradient === undefined ? gradient : this.node('Add', [node.gradient, gradient])
  }

  /** Writes the way back, from the gradients that were added to the last values. */
  back(): void {
    for (const { made, back } of this.#entries.splice(0).reverse()) {
      if (made.gradient !== undefined) back(made.gradient)
    }
  }

  node(opType: string, inputs: readonly Value[], attributes?: NodeOptions['attributes']): Value {
    return this.builder.node(opType, inputs, attributes === undefined ? {} : { attributes })
  }

  /** A constant number. */
  scalar(value: number): Value {
    const bytes = new Uint8Array(Float32Array.of(value).buffer)
    return this.builder.constant(`scalar.${value}`, 'f32', [], bytes)
  }

  times(x: Value, factor: number): Value {
    return factor === 1 ? x : this.node('Mul', [x, this.scalar(factor)])
  }

  reshape(x: Value, dims: readonly number[]): Value {
    return this.node('Reshape', [x, this.integers(dims)])
  }

  turned(x: Value, perm: readonly number[]): Value {
    return this.node('Transpose', [x], { perm })
  }

  /** Parts along the last axis. */
  split(x: Value, sizes: readonly number[]): readonly Value[] {
    if (sizes.length === 1) return [x]
    const outputs = sizes.map(() => this.builder.fresh('part'))
    const inputs = [x, this.integers(sizes)]
    return this.builder.nodes('Split', inputs, { attributes: { axis: -1 }, outputs })
  }

  joined(parts: readonly Value[]): Value {
    const [only = ''] = parts
    return parts.length === 1 ? only : this.node('Concat', parts, { axis: -1 })
  }

  /** Mean over the last axis, which stays with one value. */
  mean(x: Value): Value {
    return this.node('ReduceMean', [x, this.integers([-1])], { keepdims: 1 })
  }

  sum(x: Value, axis: number): Value {
    return this.node('ReduceSum', [x, this.integers([axis])], { keepdims: 1 })
  }

  integers(values: readonly number[]): Value {
    return constantIntegers(this.builder, `integers.${values.join('.')}`, values)
  }
}
