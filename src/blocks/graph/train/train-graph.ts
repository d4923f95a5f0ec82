// The graph of one block over whole sequences, forwards, or forwards and back: rows in, and rows or
// gradients out. Knows plans and parts; onnx/onnx-training.ts creates sessions of it.
import type { ModelConfig } from '../../../model/types.ts'
import { isWindowed, type LinearPart } from '../../families/facts.ts'
import { graphOf } from '../../families/graph-of.ts'
import type { BlockPlan, SpanPlan } from '../../span-plan.ts'
import { adapterParts, targetParts, type AdapterShape } from '../../train/adapter-shape.ts'
import { GraphBuilder } from '../builder.ts'
import { HIDDEN, RESULT, type Graph } from '../span-graph.ts'
import { MASK, POSITIONS } from './gradient-attention.ts'
import { gradientParts, sum } from './gradient-parts.ts'
import type { ProductScope, TracedLora } from './gradient-products.ts'
import { GradientTape, type Traced } from './gradient-tape.ts'

/** Of the block's output. */
export const GRADIENT = 'gradient'

/** Names of a target's matrices, (rank, inputs) and (outputs, rank), and of their gradients. */
export function loraNames(target: number): {
  readonly a: string
  readonly b: string
  readonly gradients: { readonly a: string; readonly b: string }
} {
  const of = (name: string): string => `${name}.${target}`
  return { a: of('a'), b: of('b'), gradients: { a: of('a.gradient'), b: of('b.gradient') } }
}

/** Whether the graphs read positions. */
export function readsPositions({ positions }: ModelConfig): boolean {
  return positions === undefined || positions === 'alibi'
}

/** The mask that a block reads. */
export function maskOf(config: ModelConfig, block: number): string {
  return isWindowed(config, block) ? `${MASK}.window` : MASK
}

/** @throws AppError UNSUPPORTED for blocks with experts */
export function trainGraph(
  { config }: SpanPlan,
  { block, groups }: BlockPlan,
  options: { direction: 'forwards' | 'backwards'; shape: AdapterShape | undefined }
): Graph {
  const { shape, direction } = options
  const isBackwards = direction === 'backwards'
  const builder = new GraphBuilder(`training ${direction}`)
  const rows = [1, 'count', config.hiddenSize]
  builder.input(HIDDEN, 'f32', rows)
  if (isBackwards) builder.input(GRADIENT, 'f32', rows)
  if (readsPositions(config)) builder.input(POSITIONS, 'i64', ['count'])
  builder.input(maskOf(config, block), 'f32', ['count', 'count'])
  const tape = new GradientTape(builder)
  const scope: ProductScope = {
    builder,
    tape,
    config,
    block,
    accuracy: 0,
    linear: (name: string): readonly LinearPart[] => groups.get(name) ?? [],
    loras: lorasOf(builder, config, { shape, isBackwards })
  }
  const family = graphOf(config.family)
  const input: Traced = { value: HIDDEN }
  const stream = family.block(gradientParts(scope, family.norm), { residual: input })
  const output = sum(tape, stream)
  if (isBackwards) {
    tape.addTo(output, GRADIENT)
    tape.back()
  }
  const result = isBackwards ? input.gradient : output.value
  builder.nodes('Identity', [result ?? ''], { outputs: [RESULT] })
  builder.output(RESULT, 'f32', rows)
  return { model: builder.build(), weightNames: builder.weightNames }
}

function lorasOf(
  builder: GraphBuilder,
  config: ModelConfig,
  of: { shape: AdapterShape | undefined; isBackwards: boolean }
): ProductScope['loras'] {
  const { shape, isBackwards } = of
  const targets = shape === undefined ? [] : targetParts(config, shape)
  const loras = new Map<string, TracedLora>()
  for (const [index, part] of targets.entries()) {
    const { rank = 0, scale = 1 } = shape ?? {}
    const { a, b, gradients } = loraNames(index)
    builder.input(a, 'f32', [rank, part.inputs])
    builder.input(b, 'f32', [part.outputs, rank])
    loras.set(part.target, { part, scale, a, b, ...(isBackwards ? { gradients } : {}) })
    if (!isBackwards) continue
    builder.output(gradients.a, 'f32', [1, rank, part.inputs])
    builder.output(gradients.b, 'f32', [1, part.outputs, rank])
  }
  return (group) =>
    adapterParts(config)
      .filter((part) => part.group === group)
      .map(({ target, outputs }) => ({ outputs, lora: loras.get(target) }))
}
