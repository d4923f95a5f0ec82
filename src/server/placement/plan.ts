// What this machine could serve of a model, without serving it: how many blocks fit at each
// quantisation, where a joining server would be placed, and which few blocks to measure for an
// estimate of all. Pure.
import type { BlockSpan } from '../../base/block-span.ts'
import { sizesOf, spanBytes, type ModelSizes } from '../../blocks/sizes.ts'
import type { KvType, Quant } from '../../blocks/types.ts'
import type { Model } from '../../model/types.ts'
import type { ServerInfo } from '../../wire/types.ts'
import { fit, missingOf, sessionTokens, spanNeed, type Fit, type Room } from './budget.ts'
import { chooseSpan } from './placement.ts'
import { intended, placedOf } from './rebalance.ts'

export const PLAN_QUANTS: readonly Quant[] = ['native', 'f32', 'int8', 'int4']

/** How much fits at one quantisation. */
export interface QuantFit extends Fit {
  readonly quant: Quant
  readonly sizes: ModelSizes
  /** Weights of an average block, bytes. */
  readonly blockBytes: number
  /** Weights of all blocks that fit, or of one if none does, bytes. */
  readonly weightBytes: number
  readonly workingBytes: number
  /** Tokens that sessions could hold beside these blocks. */
  readonly sessionTokens: number
  /** Whether the whole model, with a client's head, fits this machine. */
  readonly alone: boolean
}

/** Tokens of KV that the table's memory column includes. */
const KV_TOKENS = 4096

/** @param kv how keys and values would be held; default: as for join */
export function quantFit(model: Model, quant: Quant, room: Room, kv?: KvType): QuantFit {
  const sizes = sizesOf(model.config, model.tensors, { quant, kv })
  const { blockCount } = model.config
  const found = fit(sizes, room, room.diskBytes === undefined ? [] : missingOf(model))
  const range = { start: 0, end: Math.max(1, found.blocks) }
  const { weightBytes, workingBytes } = spanNeed(sizes, range, KV_TOKENS)
  const whole = spanNeed(sizes, { start: 0, end: blockCount }, KV_TOKENS)
  return {
    ...found,
    quant,
    sizes,
    blockBytes: sizes.blockBytes.reduce((sum, bytes) => sum + bytes, 0) / blockCount,
    weightBytes,
    workingBytes,
    sessionTokens:
      found.blocks > 0 ? sessionTokens(sizes, found.blocks, room.memoryBytes - weightBytes) : 0,
    alone: found.blocks === blockCount && whole.totalBytes + sizes.headBytes <= room.memoryBytes
  }
}

/** Where a server of this many blocks would be placed, once all announced moves are done. */
export function joinSpan(
  servers: readonly ServerInfo[],
  blockCount: number,
  length: number
): BlockSpan {
  return chooseSpan(intended(servers.map(placedOf)), blockCount, length)
}

/** Fewer bytes of weights may stay in the processor's cache, which makes blocks look too fast. */
const SAMPLE_BYTES = 128 * 2 ** 20
/** With one block alone, the cost of a step cannot be told from the cost of a block. */
const LEAST_SAMPLE = 2

/**
 * The blocks to measure: enough of those that would be served to exceed the caches, or of any that
 * are on this machine if none of those is.
 * @param missingBytes of each block
 */
export function sampleRange(
  sizes: ModelSizes,
  span: BlockSpan,
  missingBytes: readonly number[]
): BlockSpan {
  const length = span.end - span.start
  const isHere = (block: number): boolean => (missingBytes[block] ?? 0) === 0
  const own = longestRun(span, isHere)
  const anywhere = longestRun({ start: 0, end: sizes.config.blockCount }, isHere)
  const least = Math.min(LEAST_SAMPLE, length)
  const here = [own, anywhere].find((run) => run.end - run.start >= least)
  if (here)
    return enough(sizes, { start: here.start, end: Math.min(here.end, here.start + length) })
  return { start: span.start, end: span.start + least }
}

/** From the range's first block on, as few as reach SAMPLE_BYTES. */
function enough(sizes: ModelSizes, { start, end: most }: BlockSpan): BlockSpan {
  let end = Math.min(most, start + LEAST_SAMPLE)
  while (end < most && spanBytes(sizes, { start, end }) < SAMPLE_BYTES) end++
  return { start, end }
}

function longestRun(range: BlockSpan, isIn: (block: number) => boolean): BlockSpan {
  let best = { start: range.start, end: range.start }
  let { start } = range
  for (let block = start; block <= range.end; block++) {
    if (block < range.end && isIn(block)) continue
    if (block - start > best.end - best.start) best = { start, end: block }
    start = block + 1
  }
  return best
}
