// The parts of a block as operations on whole sequences, and how gradients pass back through each.
// Weights are not trained; only low-rank additions to products have gradients. Knows no memory:
// addresses are given.
import { unsupported } from '../../base/errors.ts'
import {
  activateBack,
  copy,
  lora,
  loraBack,
  loraRecord,
  matmulBack,
  normBack,
  SequenceAttention,
  type Lora
} from '../../kernels/gradient-operations.ts'
import type { Activation, Value } from '../../kernels/program.ts'
import type { AttentionOptions, BlockParts, NormKind, Stream } from '../families/parts.ts'
import {
  attentionOptions,
  expertsOptions,
  normOptions,
  type WeightScope
} from '../kernel/kernel-parts.ts'
import type { Node, Tape } from './tape.ts'

export interface TrainScope extends WeightScope {
  readonly tape: Tape
  /** Additions to the products of a matrix group. */
  readonly loras: (group: string) => readonly Lora[]
}

export function trainParts(scope: TrainScope, kind: NormKind): BlockParts<Node> {
  const { config } = scope
  return {
    config,
    norm(stream, part) {
      const residual = sum(scope, stream)
      return { normed: norm(scope, residual, { part, kind }), residual }
    },
    branchNorm: (branch, part) => norm(scope, branch, { part, kind }),
    linear: (x, name) => linear(scope, x, name),
    attention: (qkv, options) => attention(scope, qkv, options),
    swiglu: (x) => activate(scope, x, 'swiglu'),
    geglu: (x) => activate(scope, x, 'geglu-tanh'),
    gelu: (x, of) => activate(scope, x, of === 'erf' ? 'gelu-erf' : 'gelu-tanh'),
    experts: (x) => experts(scope, x),
    add: (a, b) => sum(scope, { residual: a, branch: b })
  }
}

/** The stream as one sum. */
export function sum({ tape }: TrainScope, { residual, branch }: Stream<Node>): Node {
  if (branch === undefined) return residual
  const made = { value: tape.take(residual.value.width) }
  copy(tape.builder, made.value, residual.value)
  tape.builder.add(made.value, branch.value)
  return tape.record(made, (gradient) => {
    tape.addTo(residual, gradient)
    tape.addTo(branch, gradient)
  })
}

function norm(scope: TrainScope, x: Node, of: { part: string; kind: NormKind }): Node {
  const { tape } = scope
  const options = normOptions(scope, of.part, of.kind)
  const made = { value: tape.take(x.value.width) }
  tape.builder.norm(x.value, made.value, options)
  return tape.record(made, (gradient) => {
    const { back, adds } = tape.gradientOf(x)
    const { kind, weight, epsilon } = options
    normBack(tape.builder, { x: x.value, gradient, back }, { kind, weight, epsilon, adds })
  })
}

function linear(scope: TrainScope, x: Node, name: string): Node {
  const { tape } = scope
  const { builder } = tape
  const matrices = scope.matrices(name)
  const made = { value: tape.take(matrices.reduce((rows, matrix) => rows + matrix.rows, 0)) }
  builder.matmul(x.value, made.value, matrices)
  const added = scope.loras(name).map((one) => {
    const record = loraRecord(builder, one)
    const low = tape.take(one.stride)
    lora(builder, { x: x.value, low, out: made.value }, record)
    return { record, low }
  })
  const goBack = (gradient: Value): void => {
    const { back, adds } = tape.gradientOf(x)
    matmulBack(builder, { gradient, back }, { matrices, adds })
    for (const { record, low } of added) {
      const lowGradient = tape.take(low.width)
      loraBack(builder, { x: x.value, low, gradient, lowGradient, back }, record)
      tape.giveBack(lowGradient)
    }
  }
  return tape.record(
    made,
    goBack,
    added.map(({ low }) => low)
  )
}

function attention(scope: TrainScope, qkv: Node, options: AttentionOptions = {}): Node {
  const { tape, config } = scope
  const { width } = qkv.value
  const parts = new SequenceAttention(tape.builder, attentionOptions(scope, options))
  const prepared: Node = { value: tape.take(width) }
  parts.turn(qkv.value, prepared.value)
  tape.record(prepared, (gradient) => {
    const { back, adds } = tape.gradientOf(qkv)
    if (adds) throw new TypeError('Queries, keys and values are read once')
    parts.turnBack({ qkv: qkv.value, gradient, back })
  })
  const made: Node = { value: tape.take(config.headCount * config.headDim) }
  parts.attend(prepared.value, made.value)
  return tape.record(made, (gradient) => {
    const { back } = tape.gradientOf(prepared)
    parts.attendBack({ prepared: prepared.value, out: made.value, gradient, back })
  })
}

function activate({ tape }: TrainScope, x: Node, kind: Activation): Node {
  const { width } = x.value
  const isGated = kind === 'swiglu' || kind.startsWith('geglu')
  const made = { value: tape.take(isGated ? width / 2 : width) }
  tape.builder.activate(x.value, made.value, kind)
  return tape.record(made, (gradient) => {
    const { back, adds } = tape.gradientOf(x)
    if (adds) throw new TypeError('What is activated is read once')
    activateBack(tape.builder, { x: x.value, gradient, back }, kind)
  })
}

function experts(scope: TrainScope, x: Node): Node {
  const { tape } = scope
  const made = { value: tape.take(x.value.width) }
  tape.builder.experts(x.value, made.value, expertsOptions(scope))
  return tape.record(made, () => {
    throw unsupported(`'${scope.config.family}' models cannot be trained yet: they have experts`)
  })
}
