// Norms of the stream, of a branch, or of single heads: RMS or layer norms.
import { float, MICROSOFT, type GraphBuilder, type Value } from './builder.ts'
import { tensorName } from '../families/facts.ts'
import type { Normed, NormKind, Stream } from '../families/parts.ts'
import { constantIntegers, type BlockScope } from './parts.ts'

export interface NormWeights {
  readonly gamma: Value
  /** Undefined for an RMS norm. */
  readonly beta?: Value
}

/** Norm of the stream, and the stream summed up. */
export function norm(
  scope: BlockScope,
  stream: Stream<Value>,
  of: { part: string; kind: NormKind }
): Normed<Value> {
  return normWith(scope.builder, stream, blockNorm(scope, of.part, of.kind), scope.config.rmsEps)
}

/** RMS norm of each head of x (1, count, heads * headDim). */
export function headNorm(scope: BlockScope, x: Value, part: string): Value {
  const { builder, config, block } = scope
  const { headDim, rmsEps } = config
  const gamma = builder.weight(tensorName(block, part), 'f32', [headDim])
  const apart = constantIntegers(builder, 'shape.heads', [0, 0, -1, headDim])
  const heads = builder.node('Reshape', [x, apart])
  const { normed } = normWith(builder, { residual: heads }, { gamma }, rmsEps)
  return builder.node('Reshape', [normed, constantIntegers(builder, 'shape.rows', [0, 0, -1])])
}

function blockNorm(scope: BlockScope, part: string, kind: NormKind): NormWeights {
  const { builder, config, block } = scope
  const weight = (suffix: 'weight' | 'bias'): Value =>
    builder.weight(tensorName(block, part, suffix), 'f32', [config.hiddenSize])
  const gamma = weight('weight')
  return kind === 'rms' ? { gamma } : { gamma, beta: weight('bias') }
}

/** A norm with given weights; the sum and the norm are one operator. */
export function normWith(
  builder: GraphBuilder,
  stream: Stream<Value>,
  weights: NormWeights,
  epsilon: number
): Normed<Value> {
  const { residual, branch } = stream
  const { gamma, beta } = weights
  const parameters = beta === undefined ? [gamma] : [gamma, beta]
  const name = beta === undefined ? 'SimplifiedLayerNormalization' : 'LayerNormalization'
  if (branch === undefined) {
    const normed = builder.node(name, [residual, ...parameters], {
      attributes: { epsilon: float(epsilon), axis: -1 }
    })
    return { normed, residual }
  }
  const outputs = [builder.fresh('normed'), '', '', builder.fresh('residual')] as const
  builder.nodes(`Skip${name}`, [branch, residual, ...parameters], {
    domain: MICROSOFT,
    attributes: { epsilon: float(epsilon) },
    outputs
  })
  return { normed: outputs[0], residual: outputs[3] }
}
