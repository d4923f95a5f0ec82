// Plans the end of a model, before any weights are read: final norm and output matrix. Knows no
// engine and no sampling.
import type { ModelConfig, TensorStore } from '../model/types.ts'
import { FINAL_NORM } from './families/facts.ts'
import { graphOf } from './families/graph-of.ts'
import { matrixBytes, planGroup, type MatrixPlan, type VectorPlan } from './span-plan.ts'
import type { Lowering } from './types.ts'

const OUTPUT = 'lm_head.weight'
const EMBEDDING = 'model.embed_tokens.weight'

export interface HeadPlan {
  readonly plans: readonly MatrixPlan[]
  /** Tensors of the final norm. */
  readonly vectors: readonly VectorPlan[]
  readonly weightBytes: number
}

/** Plans a head, before any weights are read. */
export function planHead(
  config: ModelConfig,
  tensors: TensorStore,
  quant: 'native' | 'f32',
  lowering: Lowering
): HeadPlan {
  const tensor = config.tiedEmbedding ? EMBEDDING : OUTPUT
  const plans = planGroup(tensors, 'head', {
    sources: [{ tensor, rows: config.vocabSize }],
    columns: config.hiddenSize,
    quant,
    lowering
  })
  const { weight, bias } = FINAL_NORM
  const names = graphOf(config.family).norm === 'layer' ? [weight, bias] : [weight]
  const vectors = names.map((name) => ({ tensor: name, length: config.hiddenSize }))
  const normBytes = vectors.length * config.hiddenSize * 4
  const weightBytes = plans.reduce((sum, plan) => sum + matrixBytes(plan), normBytes)
  return { plans, vectors, weightBytes }
}
