// Products with frozen weights, low-rank additions to them, and their gradients.
import type { LinearPart } from '../../families/facts.ts'
import type { AdapterPart } from '../../train/adapter-shape.ts'
import type { Value } from '../builder.ts'
import { linearWith, type BlockScope } from '../parts.ts'
import type { GradientTape, Traced } from './gradient-tape.ts'

/** A low-rank addition to one part of a group. */
export interface TracedLora {
  readonly part: AdapterPart
  readonly scale: number
  /** (rank, inputs) and (outputs, rank). */
  readonly a: Value
  readonly b: Value
  /** Names of the outputs that hold their gradients; backwards only. */
  readonly gradients?: { readonly a: Value; readonly b: Value }
}

export interface ProductScope extends BlockScope {
  readonly tape: GradientTape
  /**
   * Parts of a group that an adapter could add to, in order, each with its addition if it has one.
   */
  readonly loras: (group: string) => readonly { outputs: number; lora: TracedLora | undefined }[]
}

export function linear(scope: ProductScope, x: Traced, name: string): Traced {
  const { tape, builder } = scope
  const parts = scope.linear(name)
  const plain = linearWith(builder, parts, x.value, 0)
  const places = scope.loras(name)
  const sizes = places.map(({ outputs }) => outputs)
  const added = places.some(({ lora }) => lora !== undefined)
  const lows = places.map(({ lora }) => lora && lowOf(tape, x.value, lora))
  const sums = (): Value =>
    tape.joined(
      tape.split(plain, sizes).map((part, i) => {
        const [lora, low] = [places[i]?.lora, lows[i]]
        if (lora === undefined || low === undefined) return part
        return tape.node('Add', [part, tape.node('MatMul', [low, tape.turned(lora.b, [1, 0])])])
      })
    )
  return tape.record(added ? sums() : plain, (gradient) => {
    const whole = tape.split(
      gradient,
      parts.map(({ rows }) => rows)
    )
    for (const [i, part] of parts.entries()) {
      tape.addTo(x, tape.node('MatMul', [whole[i] ?? '', weightOf(tape, part)]))
    }
    if (!added) return
    for (const [i, own] of tape.split(gradient, sizes).entries()) {
      const [lora, low] = [places[i]?.lora, lows[i]]
      if (lora !== undefined && low !== undefined) loraBack(tape, { x, low, own }, lora)
    }
  })
}

/** low = x A * scale, (1, count, rank) */
function lowOf(tape: GradientTape, x: Value, { a, scale }: TracedLora): Value {
  return tape.times(tape.node('MatMul', [x, tape.turned(a, [1, 0])]), scale)
}

function loraBack(
  tape: GradientTape,
  { x, low, own }: { x: Traced; low: Value; own: Value },
  { a, b, scale, gradients }: TracedLora
): void {
  const lowGradient = tape.times(tape.node('MatMul', [own, b]), scale)
  tape.addTo(x, tape.node('MatMul', [lowGradient, a]))
  if (gradients === undefined) return
  const over = (left: Value, right: Value, output: Value): void => {
    const inputs = [tape.turned(left, [0, 2, 1]), right]
    tape.builder.nodes('MatMul', inputs, { outputs: [output] })
  }
  over(lowGradient, x.value, gradients.a)
  over(own, low, gradients.b)
}

/** The weights as floats, (rows, columns). */
function weightOf(tape: GradientTape, { name, rows, columns, form }: LinearPart): Value {
  const { builder } = tape
  if (form.kind === 'float') {
    return tape.turned(builder.weight(name, 'f32', [columns, rows]), [1, 0])
  }
  if (form.kind === 'packed') throw new TypeError(`Matrix '${name}' is packed for our own kernels`)
  const { bits, block, offsets } = form
  const count = Math.ceil(columns / block)
  const bytes = builder.weight(`${name}.values`, 'u8', [rows, count, (block * bits) / 8])
  const scales = builder.weight(`${name}.scales`, 'f32', [rows * count])
  const wide = tape.node('Cast', [bytes], { to: FLOAT })
  const codes = tape.node('Sub', [
    bits === 8 ? wide : nibbles(tape, wide, [rows, count, block]),
    tape.scalar(2 ** (bits - 1))
  ])
  let weight = tape.node('Mul', [codes, tape.reshape(scales, [rows, count, 1])])
  if (offsets) {
    const added = tape.turned(builder.weight(`${name}.offsets`, 'f32', [count, rows]), [1, 0])
    weight = tape.node('Add', [weight, tape.reshape(added, [rows, count, 1])])
  }
  const all = tape.reshape(weight, [rows, count * block])
  if (count * block === columns) return all
  return tape.split(all, [columns, count * block - columns])[0] ?? ''
}

/** Low and high halves of bytes, the low one first. No device lacks these operators. */
function nibbles(tape: GradientTape, bytes: Value, dims: readonly number[]): Value {
  const high = tape.node('Floor', [tape.times(bytes, 1 / 16)])
  const low = tape.node('Sub', [bytes, tape.times(high, 16)])
  const apart = [low, high].map((half) => tape.node('Unsqueeze', [half, tape.integers([-1])]))
  return tape.reshape(tape.joined(apart), dims)
}

/** Floats, as ONNX numbers element types. */
const FLOAT = 1
