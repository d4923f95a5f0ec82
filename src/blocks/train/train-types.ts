// Requests to a span in training and their answers: two kinds of step without a session. Forwards a
// span computes whole sequences; backwards it computes them again and then the gradients. It keeps
// nothing of either.
import type { BlockSpan } from '../../base/block-span.ts'
import type { AdapterShape } from './adapter-shape.ts'

/** An adapter's numbers for the blocks of a step, in the order of adapter-shape.ts. */
export interface StepAdapter {
  readonly shape: AdapterShape
  readonly values: Float32Array
}

/** Dropout of what an adapter reads; the same seeds drop the same values. */
export interface StepDropout {
  /** Which share is dropped, over 0 and below 1. */
  readonly share: number
  /** Of each sequence, 32 bits. */
  readonly seeds: readonly number[]
}

export interface TrainStep {
  readonly span: number
  /** Blocks of the span. */
  readonly range: BlockSpan
  /** Rows of each sequence, in order: no row sees another sequence. */
  readonly lengths: readonly number[]
  /** (rows, hiddenSize): the input of the first block. */
  readonly hidden: Float32Array
  /**
   * (rows, hiddenSize): gradient of the last block's output. With it the step is a backward step.
   */
  readonly gradient?: Float32Array | undefined
  readonly adapter?: StepAdapter | undefined
  readonly dropout?: StepDropout | undefined
  /**
   * (blocks, positions, hiddenSize): added to the input of each block, at the first positions of
   * each sequence.
   */
  readonly prompts?: Float32Array | undefined
}

/** Losses of rows at the model's end. */
export interface HeadLoss {
  /** (rows): -log of the target's probability; 0 for rows without a target. */
  readonly losses: Float64Array
  /** (rows, hiddenSize): of the rows, times the weight. */
  readonly hidden: Float32Array
}

export interface HeadLossStep {
  readonly head: number
  /** (rows, hiddenSize) */
  readonly hidden: Float32Array
  /** (rows): token ids; below 0 a row has no loss. */
  readonly targets: Int32Array
  /** Weight of each loss in the gradient. */
  readonly weight: number
}

/** Rows at the model's end for losses that are computed elsewhere. */
export interface HeadRowsStep {
  readonly head: number
  /** (rows, hiddenSize) */
  readonly hidden: Float32Array
  /** (rows, vocabSize): of the logits; with it the answer is the gradient of the rows. */
  readonly gradient?: Float32Array | undefined
}

export interface TrainResult {
  /** (rows, hiddenSize): the output of the last block; backwards, the gradient of `hidden`. */
  readonly hidden: Float32Array
  /** Backwards: gradients of the adapter's numbers and of the prompts, if the step has them. */
  readonly adapterGradient?: Float32Array | undefined
  readonly promptGradient?: Float32Array | undefined
}
