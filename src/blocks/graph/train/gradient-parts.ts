// The parts of a block as nodes of an ONNX graph that also has the way back: for training on
// devices of onnxruntime. Experts are not among them.
import { unsupported } from '../../../base/errors.ts'
import { tensorName } from '../../families/facts.ts'
import type { BlockParts, NormKind, Stream } from '../../families/parts.ts'
import { MICROSOFT, type Value } from '../builder.ts'
import { attention } from './gradient-attention.ts'
import { layerNorm, rmsNorm } from './gradient-norms.ts'
import { linear, type ProductScope } from './gradient-products.ts'
import type { GradientTape, Traced } from './gradient-tape.ts'

export function gradientParts(scope: ProductScope, kind: NormKind): BlockParts<Traced> {
  const { config, tape } = scope
  return {
    config,
    norm(stream, part) {
      const residual = sum(tape, stream)
      return { normed: norm(scope, residual, { part, kind }), residual }
    },
    branchNorm: (branch, part) => norm(scope, branch, { part, kind }),
    linear: (x, name) => linear(scope, x, name),
    attention: (qkv, options) => attention(scope, qkv, options),
    swiglu: (gateUp) => gated(tape, gateUp, silu),
    geglu: (gateUp) => gated(tape, gateUp, geluTanh),
    gelu: (x, of) => activate(tape, x, of === 'erf' ? geluErf : geluTanh),
    experts() {
      throw unsupported('Blocks with experts cannot be trained on this device')
    },
    add: (a, b) => sum(tape, { residual: a, branch: b })
  }
}

/** The stream as one sum. */
export function sum(tape: GradientTape, { residual, branch }: Stream<Traced>): Traced {
  if (branch === undefined) return residual
  return tape.record(tape.node('Add', [residual.value, branch.value]), (gradient) => {
    tape.addTo(residual, gradient)
    tape.addTo(branch, gradient)
  })
}

function norm(scope: ProductScope, x: Traced, of: { part: string; kind: NormKind }): Traced {
  const { tape, builder, config, block } = scope
  const vector = (suffix: 'weight' | 'bias'): Value =>
    builder.weight(tensorName(block, of.part, suffix), 'f32', [config.hiddenSize])
  const weight = vector('weight')
  if (of.kind === 'rms') return rmsNorm(tape, x, weight, config.rmsEps)
  return layerNorm(tape, x, { weight, bias: vector('bias') }, config.rmsEps)
}

/** An activation and its slope, of the same x. */
type Curve = (tape: GradientTape, x: Value) => { readonly value: Value; readonly slope: Value }

function activate(tape: GradientTape, x: Traced, curve: Curve): Traced {
  const { value, slope } = curve(tape, x.value)
  return tape.record(value, (gradient) => tape.addTo(x, tape.node('Mul', [gradient, slope])))
}

function gated(tape: GradientTape, x: Traced, curve: Curve): Traced {
  const { builder } = tape
  const [gate, up] = [builder.fresh('gate'), builder.fresh('up')]
  builder.nodes('Split', [x.value], {
    attributes: { axis: -1, num_outputs: 2 },
    outputs: [gate, up]
  })
  const { value, slope } = curve(tape, gate)
  const product = (a: Value, b: Value): Value => tape.node('Mul', [a, b])
  return tape.record(product(value, up), (gradient) => {
    const ofGate = product(product(gradient, up), slope)
    tape.addTo(x, tape.joined([ofGate, product(gradient, value)]))
  })
}

/** x * s, s = sigmoid(x): s * (1 + x * (1 - s)) */
function silu(tape: GradientTape, x: Value): ReturnType<Curve> {
  const s = tape.node('Sigmoid', [x])
  const one = tape.scalar(1)
  const inner = tape.node('Mul', [x, tape.node('Sub', [one, s])])
  const slope = tape.node('Mul', [s, tape.node('Add', [one, inner])])
  return { value: tape.node('Mul', [x, s]), slope }
}

/** x * p(x), p(x) = (1 + erf(x / sqrt 2)) / 2: p + x * density */
function geluErf(tape: GradientTape, x: Value): ReturnType<Curve> {
  const erf = tape.node('Erf', [tape.times(x, Math.SQRT1_2)])
  const share = tape.times(tape.node('Add', [erf, tape.scalar(1)]), 0.5)
  const bell = tape.node('Exp', [tape.times(tape.node('Mul', [x, x]), -0.5)])
  const density = tape.times(bell, 0.398_942_280_4)
  const slope = tape.node('Add', [share, tape.node('Mul', [x, density])])
  return { value: tape.builder.node('Gelu', [x], { domain: MICROSOFT }), slope }
}

/** With t = tanh(x * (a + b * x * x)): (1 + t) / 2 + x * (1 - t * t) * (a + 3 * b * x * x) / 2 */
function geluTanh(tape: GradientTape, x: Value): ReturnType<Curve> {
  const [a, b] = [0.797_884_560_8, 0.035_677_408_1]
  const product = (one: Value, other: Value): Value => tape.node('Mul', [one, other])
  const plus = (one: Value, value: number): Value => tape.node('Add', [one, tape.scalar(value)])
  const square = product(x, x)
  const t = tape.node('Tanh', [product(x, plus(tape.times(square, b), a))])
  const share = tape.times(plus(t, 1), 0.5)
  const flat = tape.node('Sub', [tape.scalar(1), product(t, t)])
  const inner = tape.times(plus(tape.times(square, 3 * b), a), 0.5)
  const slope = tape.node('Add', [share, product(x, product(flat, inner))])
  return { value: product(x, share), slope }
}
