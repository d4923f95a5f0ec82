// The graph of consecutive blocks: residual stream in, residual stream out, caches updated in
// place. Knows plans and parts; onnx-span.ts creates sessions of it.
import type { BlockSpan } from '../../base/block-span.ts'
import type { ModelConfig } from '../../model/types.ts'
import { graphOf } from '../families/graph-of.ts'
import { FINAL_NORM, type LinearPart } from '../families/facts.ts'
import type { Stream } from '../families/parts.ts'
import type { SpanPlan } from '../span-plan.ts'
import { GraphBuilder, type Value } from './builder.ts'
import { ropeIsFused, ROPE_START, SEQUENCE_LENGTHS, TOTAL_LENGTH } from './attention.ts'
import { normWith, type NormWeights } from './norms.ts'
import { onnxParts } from './onnx-parts.ts'
import { linearWith } from './parts.ts'

export const HIDDEN = 'hidden'
export const RESULT = 'result'

export interface Graph {
  readonly model: Uint8Array
  readonly weightNames: readonly string[]
}

/** Blocks [start, end) of a plan. `accuracy` 0: float activations; 4: int8 activations. */
export function spanGraph(plan: SpanPlan, range: BlockSpan, accuracy: number): Graph {
  const { config } = plan
  const builder = new GraphBuilder('span')
  const width = config.hiddenSize
  builder.input(HIDDEN, 'f32', [1, 'count', width])
  builder.input(SEQUENCE_LENGTHS, 'i32', [1])
  builder.input(TOTAL_LENGTH, 'i32', [1])
  if (!ropeIsFused(config)) builder.input(ROPE_START, 'i64', [1])
  const family = graphOf(config.family)
  // The first block gets a branch of zeros: so its norm uses the same operator as all others, and
  // consecutive spans give the same bits as one span.
  let stream: Stream<Value> = { residual: HIDDEN, branch: builder.node('Sub', [HIDDEN, HIDDEN]) }
  for (const { block, groups } of plan.blocks) {
    if (block < range.start || block >= range.end) continue
    const linear = (name: string): readonly LinearPart[] => groups.get(name) ?? []
    const scope = { builder, config, block, accuracy, linear }
    stream = family.block(onnxParts(scope, family.norm), stream)
  }
  builder.nodes('Add', [stream.branch ?? '', stream.residual], { outputs: [RESULT] })
  builder.output(RESULT, 'f32', [1, 'count', width])
  return { model: builder.build(), weightNames: builder.weightNames }
}

/** Final norm and output matrix: (count, hiddenSize) to (count, vocabSize). */
export function headGraph(
  config: ModelConfig,
  parts: readonly LinearPart[],
  accuracy: number
): Graph {
  const builder = new GraphBuilder('head')
  const { hiddenSize, vocabSize, rmsEps, headSoftCap } = config
  builder.input(HIDDEN, 'f32', [1, 'count', hiddenSize])
  const vector = (name: string): Value => builder.weight(name, 'f32', [hiddenSize])
  const gamma = vector(FINAL_NORM.weight)
  const isLayerNorm = graphOf(config.family).norm === 'layer'
  const weights: NormWeights = isLayerNorm ? { gamma, beta: vector(FINAL_NORM.bias) } : { gamma }
  const { normed } = normWith(builder, { residual: HIDDEN }, weights, rmsEps)
  const logits = linearWith(builder, parts, normed, accuracy)
  if (headSoftCap === undefined) builder.nodes('Identity', [logits], { outputs: [RESULT] })
  else softCapped(builder, logits, headSoftCap)
  builder.output(RESULT, 'f32', [1, 'count', vocabSize])
  return { model: builder.build(), weightNames: builder.weightNames }
}

/** RESULT = cap * tanh(logits / cap). */
function softCapped(builder: GraphBuilder, logits: Value, cap: number): void {
  const bytes = new Uint8Array(Float32Array.of(cap).buffer)
  const value = builder.constant('head.cap', 'f32', [], bytes)
  const bent = builder.node('Tanh', [builder.node('Div', [logits, value])])
  builder.nodes('Mul', [bent, value], { outputs: [RESULT] })
}
