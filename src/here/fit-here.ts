// Whether this process can compute blocks besides everything else: memory they need, memory there
// is, and what to do if it is not enough. Pure.
import type { BlockSpan } from '../base/block-span.ts'
import { formatBytes } from '../base/bytes.ts'
import { noMemory, type AppError } from '../base/errors.ts'
import { sizesOf } from '../blocks/sizes.ts'
import type { Quant } from '../blocks/types.ts'
import { blockTensorNames } from '../model/needed-tensors.ts'
import type { Model } from '../model/types.ts'
import { fit, spanNeed } from '../server/placement/budget.ts'

export interface HereFit {
  /** For weights, one conversation and working memory. */
  readonly needBytes: number
  /** Memory that may be used. */
  readonly freeBytes: number
  /** What is missing; 0 when they fit. */
  readonly lackBytes: number
  /** Weights that must be fetched first. */
  readonly fetchBytes: number
}

/** Length of a conversation that must fit, in tokens. */
const TOKENS = 2048

/** What blocks [start, end) of a model need of `freeBytes` of memory. */
export function fitHere(model: Model, quant: Quant, span: BlockSpan, freeBytes: number): HereFit {
  const needBytes = spanNeed(sizesOf(model.config, model.tensors, quant), span, TOKENS).totalBytes
  const names = blockTensorNames(model.tensors, span.start, span.end)
  const lackBytes = Math.max(0, needBytes - freeBytes)
  return { needBytes, freeBytes, lackBytes, fetchBytes: model.missingBytes(names) }
}

/** Says how much is missing, and what would serve the model. */
export function doesNotFit(model: Model, quant: Quant, span: BlockSpan, here: HereFit): AppError {
  const { needBytes, freeBytes, lackBytes } = here
  const { blockCount } = model.config
  const sizes = sizesOf(model.config, model.tensors, quant)
  const { blocks } = fit(sizes, { memoryBytes: freeBytes })
  const machines = blocks > 0 ? Math.ceil(blockCount / blocks) : undefined
  const hint =
    machines === undefined
      ? 'Free some memory, or start servers: petals join MODEL on other machines'
      : `${machines} machines like this one would serve it: petals join MODEL on each; ` +
        `of ${blockCount} blocks ${blocks} fit here`
  return noMemory(
    `Blocks ${span.start}:${span.end} do not fit here: ${formatBytes(needBytes)} are needed and ` +
      `${formatBytes(freeBytes)} are free, ${formatBytes(lackBytes)} are missing`,
    { hint, retryable: false }
  )
}
