// The parts of a block as operations on whole sequences, and how gradients pass back through each.
// Weights are not trained; only low-rank additions to products have gradients. Knows no memory:
// addresses are given.
import {
  activateBack,
  copy,
  drop,
  expertsBack,
  loraBack,
  loraDown,
  loraRecord,
  loraUp,
  matmulBack,
  normBack,
  SequenceAttention
} from '../../kernels/gradient-operations.ts'
import type { Activation, Address } from '../../kernels/program.ts'
import type { AttentionOptions, BlockParts, NormKind, Stream } from '../families/parts.ts'
import {
  attentionOptions,
  expertsOptions,
  normOptions,
  type WeightScope
} from '../kernel/kernel-parts.ts'
import type { SaltedLora } from './adapter-slots.ts'
import { valueOf, type Node, type Tape } from './tape.ts'

export interface TrainScope extends WeightScope {
  readonly tape: Tape
  /** Additions to the products of a matrix group. */
  readonly loras: (group: string) => readonly SaltedLora[]
  /** The record of what they do not read; undefined: they read all. */
  readonly dropout?: Address | undefined
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
  const { builder } = tape
  return tape.add({
    width: residual.width,
    inputs: [residual, branch],
    write(out) {
      copy(builder, out, valueOf(residual))
      builder.add(out, valueOf(branch))
    },
    reads: [],
    back(gradient) {
      tape.addTo(residual, gradient)
      tape.addTo(branch, gradient)
    }
  })
}

function norm(scope: TrainScope, x: Node, of: { part: string; kind: NormKind }): Node {
  const { tape } = scope
  const options = normOptions(scope, of.part, of.kind)
  return tape.add({
    width: x.width,
    inputs: [x],
    write: (out) => tape.builder.norm(valueOf(x), out, options),
    reads: [x],
    back(gradient) {
      const { back, adds } = tape.gradientOf(x)
      const { kind, weight, epsilon } = options
      normBack(tape.builder, { x: valueOf(x), gradient, back }, { kind, weight, epsilon, adds })
    }
  })
}

function linear(scope: TrainScope, x: Node, name: string): Node {
  const { tape } = scope
  const { builder } = tape
  const matrices = scope.matrices(name)
  const added = scope.loras(name).map(({ lora, salt }) => {
    const record = loraRecord(builder, lora)
    const read = dropped(scope, x, salt)
    const low = tape.add({
      width: lora.stride,
      inputs: [read],
      write: (out) => loraDown(builder, { x: valueOf(read), low: out }, record),
      isCostly: true,
      reads: []
    })
    return { record, read, low }
  })
  const lows = added.map(({ low }) => low)
  return tape.add({
    width: matrices.reduce((rows, matrix) => rows + matrix.rows, 0),
    inputs: [x, ...lows],
    write(out) {
      builder.matmul(valueOf(x), out, matrices)
      for (const { record, low } of added) loraUp(builder, { low: valueOf(low), out }, record)
    },
    isCostly: true,
    reads: [...new Set(added.map(({ read }) => read)), ...lows],
    back(gradient) {
      const { back, adds } = tape.gradientOf(x)
      matmulBack(builder, { gradient, back }, { matrices, adds })
      for (const { record, read, low } of added) {
        const lowGradient = tape.take(low.width)
        const own = tape.gradientOf(read)
        const rows = { x: valueOf(read), low: valueOf(low), gradient, lowGradient }
        loraBack(builder, { ...rows, back: own.back }, { record, adds: own.adds })
        tape.giveBack(lowGradient)
      }
    }
  })
}

/** What of rows an addition reads. */
function dropped(scope: TrainScope, x: Node, salt: number): Node {
  const { tape, dropout: record } = scope
  const { builder } = tape
  if (record === undefined) return x
  return tape.add({
    width: x.width,
    inputs: [x],
    write: (into) => drop(builder, { from: valueOf(x), into }, { record, salt, adds: false }),
    reads: [],
    back(gradient) {
      const { back, adds } = tape.gradientOf(x)
      drop(builder, { from: gradient, into: back }, { record, salt, adds })
    }
  })
}

function attention(scope: TrainScope, qkv: Node, options: AttentionOptions = {}): Node {
  const { tape, config } = scope
  const { width } = qkv
  const record = attentionOptions(scope, options)
  const parts = new SequenceAttention(tape.builder, record)
  const hasNorms = record.headNorms !== undefined
  const prepared = tape.add({
    width,
    inputs: [qkv],
    write: (out) => parts.turn(valueOf(qkv), out),
    reads: hasNorms ? [qkv] : [],
    back(gradient) {
      const { back, adds } = tape.gradientOf(qkv)
      if (adds) throw new TypeError('Queries, keys and values are read once')
      parts.turnBack({ qkv: hasNorms ? valueOf(qkv) : gradient, gradient, back })
    }
  })
  return tape.add({
    width: config.headCount * config.headDim,
    inputs: [prepared],
    write: (out) => parts.attend(valueOf(prepared), out),
    isCostly: true,
    reads: [prepared],
    readsOwn: true,
    back(gradient, own) {
      const { back } = tape.gradientOf(prepared)
      const of = { prepared: valueOf(prepared), out: valueOf(own), gradient, back }
      parts.attendBack(of)
    }
  })
}

function activate({ tape }: TrainScope, x: Node, kind: Activation): Node {
  const isGated = kind === 'swiglu' || kind.startsWith('geglu')
  return tape.add({
    width: isGated ? x.width / 2 : x.width,
    inputs: [x],
    write: (out) => tape.builder.activate(valueOf(x), out, kind),
    reads: [x],
    back(gradient) {
      const { back, adds } = tape.gradientOf(x)
      if (adds) throw new TypeError('What is activated is read once')
      activateBack(tape.builder, { x: valueOf(x), gradient, back }, kind)
    }
  })
}

function experts(scope: TrainScope, x: Node): Node {
  const { tape } = scope
  const options = expertsOptions(scope)
  return tape.add({
    width: x.width,
    inputs: [x],
    write: (out) => tape.builder.experts(valueOf(x), out, options),
    isCostly: true,
    reads: [x],
    back(gradient) {
      const { back, adds } = tape.gradientOf(x)
      expertsBack(tape.builder, { x: valueOf(x), gradient, back }, { ...options, adds })
    }
  })
}
