// How much memory blocks, head and work will take, from the model's facts alone: the very plans
// that the engine loads by, added up. Loads nothing and knows no engine.
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
import type { Lowering, Quant } from './types.ts'

/** A model's sizes at one quantisation. */
export interface ModelSizes {
  readonly config: ModelConfig
  readonly quant: Quant
  readonly lowering: Lowering
  /** Weights of each block, bytes, without the tables that a span's blocks share. */
  readonly blockBytes: readonly number[]
  /** Keys and values of one token in one block, bytes. */
  readonly kvBytesPerToken: number
  /** A matrix on its way into the engine is in memory once more. */
  readonly largestMatrixBytes: number
  /** The client's last matrix, as it takes it beside servers of this quantisation. */
  readonly headBytes: number
}

/** Rows that the engine computes at once. */
const CHUNK_ROWS = 128
/**
 * Buffers, graphs and what the collector has not collected yet: between 30 and 100 MiB were seen
 * over weights and KV with SmolLM2 at all quantisations.
 */
const ENGINE_BYTES = 64 * 2 ** 20

/** @throws AppError NOT_FOUND for a tensor that the family needs and the model lacks */
export function sizesOf(
  config: ModelConfig,
  tensors: TensorStore,
  quant: Quant,
  lowering: Lowering = DEFAULT_LOWERING
): ModelSizes {
  const plan = planSpan(config, tensors, { start: 0, end: config.blockCount, quant, lowering })
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
 * What is needed beside weights and KV: loading a matrix, or a chunk of a prompt behind `tokens`.
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
 * What a graph over some blocks takes beside the weights: 10 MiB were seen for SmolLM2's 30 blocks.
 */
export function graphBytes(blocks: number): number {
  return 6 * 2 ** 20 + blocks * 128 * 2 ** 10
}
