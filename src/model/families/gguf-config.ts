// Reads a GGUF's metadata as most architectures write it; each family adds its own facts. Knows
// which tensors there are, not their content.
import { corrupt } from '../../base/errors.ts'
import type { Family, ModelConfig } from '../types.ts'
import type { GgufFacts } from './gguf-facts.ts'
import { ropeFromGguf } from './rope.ts'

/** Facts that all architectures have; `epsilon` is the key of the norms' epsilon. */
export function commonFromGguf(
  gguf: GgufFacts,
  family: Family,
  epsilon: 'layer_norm_rms_epsilon' | 'layer_norm_epsilon' = 'layer_norm_rms_epsilon'
): ModelConfig {
  const headCount = gguf.required('attention.head_count')
  const hiddenSize = gguf.required('embedding_length')
  const headDim = gguf.optional('attention.key_length') ?? hiddenSize / headCount
  if ((gguf.optional('attention.value_length') ?? headDim) !== headDim) {
    throw gguf.refuse('a value size other than the key size')
  }
  const embedding = gguf.tensor('token_embd.weight')
  if (!embedding) throw corrupt("The GGUF cannot be opened: tensor 'token_embd.weight' is missing")
  return {
    family,
    name: gguf.name,
    hiddenSize,
    blockCount: gguf.required('block_count'),
    headCount,
    kvHeadCount: gguf.optional('attention.head_count_kv') ?? headCount,
    headDim,
    ffnSize: gguf.required('feed_forward_length'),
    vocabSize: embedding.shape[0] ?? 0,
    contextLength: gguf.required('context_length'),
    ...ropeFromGguf(gguf, headDim),
    rmsEps: gguf.required(`attention.${epsilon}`),
    tiedEmbedding: gguf.tensor('output.weight') === undefined
  }
}

/** `attention.sliding_window`, for architectures in which every block has it. */
export function windowFromGguf(gguf: GgufFacts): { window?: number } {
  const window = gguf.optional('attention.sliding_window')
  return window === undefined ? {} : { window }
}

/** Whether there is a window that is narrower than the context. */
export function hasWindow(gguf: GgufFacts): boolean {
  const window = gguf.optional('attention.sliding_window') ?? 0
  return window > 0 && window < gguf.required('context_length')
}

/** Counts of a mixture of experts. */
export function expertsFromGguf(
  gguf: GgufFacts
): Pick<Required<ModelConfig>, 'expertCount' | 'expertsPerToken'> {
  return {
    expertCount: gguf.required('expert_count'),
    expertsPerToken: gguf.required('expert_used_count')
  }
}
