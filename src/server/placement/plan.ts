// What this machine could serve of a model before it serves anything: what fits at each quantisation,
// where a joining server would go, and which few blocks tell how fast all would be. Pure.
import { sizesOf, spanBytes, type BlockRange, type ModelSizes } from '../../blocks/sizes.ts'
import type { Quant } from '../../blocks/types.ts'
import type { Model } from '../../model/types.ts'
import type { ServerInfo } from '../../wire/types.ts'
import { fit, missingOf, sessionTokens, spanNeed, type Fit, type Room } from './budget.ts'
import { chooseSpan } from './placement.ts'
import { intended, placedOf } from './rebalance.ts'

export const PLAN_QUANTS: readonly Quant[] = ['native', 'f32', 'int8', 'int4']

/** What fits at one quantisation. */
export interface QuantFit extends Fit {
  readonly quant: Quant
  readonly sizes: ModelSizes
  /** The mean block's weights. */
  readonly blockBytes: number
  /** Of all blocks that fit, or of one when none does. */
  readonly weightBytes: number
  readonly workingBytes: number
  /** Tokens that sessions could hold beside these blocks. */
  readonly sessionTokens: number
  /** Whether all blocks, and the head of a client on this machine, fit together. */
  readonly alone: boolean
}

/** Tokens of KV that make the table's need. */
const KV_TOKENS = 4096

export function quantFit(model: Model, quant: Quant, room: Room): QuantFit {
  const sizes = sizesOf(model.config, model.tensors, quant)
  const { blockCount } = model.config
  const found = fit(sizes, room, room.diskBytes === undefined ? [] : missingOf(model))
  const range = { first: 0, last: Math.max(1, found.blocks) }
  const { weightBytes, workingBytes } = spanNeed(sizes, range, KV_TOKENS)
  const whole = spanNeed(sizes, { first: 0, last: blockCount }, KV_TOKENS)
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

/** Where a server of so many blocks would go in the swarm as it will be when all who move have moved. */
export function joinSpan(
  servers: readonly ServerInfo[],
  blockCount: number,
  length: number
): BlockRange {
  return chooseSpan(intended(servers.map(placedOf)), blockCount, length)
}

/** Weights of less than this may lie in a processor's cache, and a few blocks would look too fast. */
const SAMPLE_BYTES = 128 * 2 ** 20
/** One block alone does not tell a step's cost from a block's. */
const LEAST_SAMPLE = 2

/**
 * The blocks to measure: of those that would be served, or any that are here when none of those is, as
 * many as outgrow caches.
 * @param missingBytes of each block
 */
export function sampleRange(
  sizes: ModelSizes,
  span: BlockRange,
  missingBytes: readonly number[]
): BlockRange {
  const length = span.last - span.first
  const isHere = (block: number): boolean => (missingBytes[block] ?? 0) === 0
  const own = longestRun(span, isHere)
  const anywhere = longestRun({ first: 0, last: sizes.config.blockCount }, isHere)
  const least = Math.min(LEAST_SAMPLE, length)
  const here = [own, anywhere].find((run) => run.last - run.first >= least)
  if (here)
    return enough(sizes, { first: here.first, last: Math.min(here.last, here.first + length) })
  return { first: span.first, last: span.first + least }
}

/** From the range's first block, as few as reach SAMPLE_BYTES. */
function enough(sizes: ModelSizes, { first, last }: BlockRange): BlockRange {
  let end = Math.min(last, first + LEAST_SAMPLE)
  while (end < last && spanBytes(sizes, { first, last: end }) < SAMPLE_BYTES) end++
  return { first, last: end }
}

function longestRun({ first, last }: BlockRange, isIn: (block: number) => boolean): BlockRange {
  let best = { first, last: first }
  let start = first
  for (let block = first; block <= last; block++) {
    if (block < last && isIn(block)) continue
    if (block - start > best.last - best.first) best = { first: start, last: block }
    start = block + 1
  }
  return best
}
