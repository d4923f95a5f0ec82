// The graph of consecutive blocks: residual stream in, residual stream out, caches in place.
// Knows plans and parts; span.ts makes sessions of it.
import type { ModelConfig } from '../../model/types.ts'
import { graphOf } from '../families/family.ts'
import type { SpanPlan } from '../span-plan.ts'
import { GraphBuilder } from './builder.ts'
import {
  linearWith,
  normWith,
  ropeIsFused,
  ROPE_COS,
  ROPE_SIN,
  ROPE_START,
  SEQUENCE_LENGTHS,
  TOTAL_LENGTH,
  type LinearPart,
  type Stream
} from './parts.ts'

export const HIDDEN = 'hidden'
export const RESULT = 'result'

export interface Graph {
  readonly model: Uint8Array
  readonly weightNames: readonly string[]
}

/** Blocks [first, last) of a plan. `accuracy`: 0 float activations, 4 int8 activations. */
export function spanGraph(
  plan: SpanPlan,
  range: { first: number; last: number },
  accuracy: number
): Graph {
  const { config } = plan
  const builder = new GraphBuilder('span')
  const width = config.hiddenSize
  builder.input(HIDDEN, 'f32', [1, 'count', width])
  builder.input(SEQUENCE_LENGTHS, 'i32', [1])
  builder.input(TOTAL_LENGTH, 'i32', [1])
  if (!ropeIsFused(config)) builder.input(ROPE_START, 'i64', [1])
  for (const name of [ROPE_COS, ROPE_SIN]) {
    builder.weight(name, 'f32', [config.contextLength, config.headDim / 2])
  }
  const family = graphOf(config.family)
  let stream: Stream = { residual: HIDDEN }
  for (const { block, groups } of plan.blocks) {
    if (block < range.first || block >= range.last) continue
    const linear = (name: string): readonly LinearPart[] => groups.get(name) ?? []
    stream = family.block({ builder, config, block, accuracy, linear }, stream)
  }
  builder.nodes('Add', [stream.branch ?? '', stream.residual], { outputs: [RESULT] })
  builder.output(RESULT, 'f32', [1, 'count', width])
  return { model: builder.build(), weightNames: builder.weightNames }
}

/** Final norm and output matrix: (count, hiddenSize) to (count, vocabSize). */
export function headGraph(
  config: ModelConfig,
  norm: string,
  parts: readonly LinearPart[],
  accuracy: number
): Graph {
  const builder = new GraphBuilder('head')
  builder.input(HIDDEN, 'f32', [1, 'count', config.hiddenSize])
  const gamma = builder.weight(norm, 'f32', [config.hiddenSize])
  const { normed } = normWith(builder, { residual: HIDDEN }, gamma, config.rmsEps)
  const logits = linearWith(builder, parts, normed, accuracy)
  builder.nodes('Identity', [logits], { outputs: [RESULT] })
  builder.output(RESULT, 'f32', [1, 'count', config.vocabSize])
  return { model: builder.build(), weightNames: builder.weightNames }
}
