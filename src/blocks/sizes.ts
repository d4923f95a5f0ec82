// How much memory blocks, head and working memory take, from the model's facts alone: the sum of
// the same plans that the engine loads by. Loads nothing and knows no engine.
import type { BlockSpan } from '../base/block-span.ts'
import type { ModelConfig, TensorStore } from '../model/types.ts'
import { planHead } from './head-plan.ts'
import {
  blockBytes,
  DEFAULT_LOWERING,
  matricesOf,
  matrixBytes,
  planSpan,
  tableBytes
} from './span-plan.ts'
import type { Holding, Lowering, Quant } from './types.ts'

/** A model's sizes at one quantisation. */
export interface ModelSizes {
  readonly config: ModelConfig
  readonly quant: Quant
  readonly lowering: Lowering
  /** Weights of each block, bytes, without the tables that a span's blocks share. */
  readonly blockBytes: readonly number[]
  /** Keys and values of one token in one block, bytes. */
  readonly kvBytesPerToken: number
  /** While a matrix is loaded it is in memory twice. */
  readonly largestMatrixBytes: number
  /** A client's head, as it loads it beside servers of this quantisation. */
  readonly headBytes: number
}

/** Most rows of one run. */
const CHUNK_ROWS = 128
/**
 * Buffers, graphs and garbage that is not collected yet: between 30 and 100 MiB were measured
 * beyond weights and KV, with SmolLM2 at all quantisations.
 */
const ENGINE_BYTES = 64 * 2 ** 20

/** @throws AppError NOT_FOUND for a tensor that the family needs and the model lacks */
export function sizesOf(
  config: ModelConfig,
  tensors: TensorStore,
  holding: Holding,
  lowering: Lowering = DEFAULT_LOWERING
): ModelSizes {
  const { quant, kv } = typeof holding === 'string' ? { quant: holding } : holding
  const range = { start: 0, end: config.blockCount }
  const plan = planSpan(config, tensors, { ...range, quant, kv, lowering })
  const matrices = plan.blocks.flatMap(matricesOf)
  return {
    config,
    quant,
    lowering,
    blockBytes: plan.blocks.map(blockBytes),
    kvBytesPerToken: plan.kvBytesPerToken / config.blockCount,
    largestMatrixBytes: matrices.reduce((most, each) => Math.max(most, matrixBytes(each)), 0),
    headBytes: planHead(config, tensors, quant === 'f32' ? 'f32' : 'native', lowering).weightBytes
  }
}

/** Weights of blocks [start, end) as a span holds them. */
export function spanBytes(sizes: ModelSizes, { start, end }: BlockSpan): number {
  const blocks = sizes.blockBytes.slice(start, end)
  return blocks.reduce((sum, bytes) => sum + bytes, tableBytes(sizes.config, { start, end }))
}

/**
 * Memory beside weights and KV: for loading a matrix, or for a chunk of a prompt after `tokens`
 * tokens.
 */
export function workingBytes(sizes: ModelSizes, tokens: number): number {
  const { config, largestMatrixBytes } = sizes
  const { hiddenSize, headCount, kvHeadCount, headDim, ffnSize, expertsPerToken = 1 } = config
  const qkv = (headCount + 2 * kvHeadCount) * headDim
  const widths = 4 * hiddenSize + 2 * qkv + 2 * headCount * headDim + 3 * ffnSize * expertsPerToken
  const scores = headCount * Math.min(tokens, config.contextLength)
  return ENGINE_BYTES + Math.max(largestMatrixBytes, CHUNK_ROWS * 4 * (widths + scores))
}

/**
 * Memory of a graph over some blocks beside the weights: 10 MiB were measured for SmolLM2's 30
 * blocks.
 */
export function graphBytes(blocks: number): number {
  return 6 * 2 ** 20 + blocks * 128 * 2 ** 10
}
