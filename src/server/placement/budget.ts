// How many blocks of a model fit this machine: weights in the form the engine holds them, KV,
// working memory and disk space. `join` and `plan` use the same numbers. Pure.
import type { BlockSpan } from '../../base/block-span.ts'
import { AppError } from '../../base/errors.ts'
import { formatBytes } from '../../base/bytes.ts'
import { sizesOf, spanBytes, workingBytes, type ModelSizes } from '../../blocks/sizes.ts'
import type { Holding, Quant } from '../../blocks/types.ts'
import { blockTensorNames } from '../../model/needed-tensors.ts'
import type { Model } from '../../model/types.ts'

/** A server takes another block only if this many tokens of KV still fit, for all its blocks. */
const KV_TOKENS = 4096
/** Tokens that a chat asks for when it opens. A server with room for less serves nobody. */
const LEAST_KV_TOKENS = 512
/**
 * Share of the remaining memory that sessions may be promised. Caches grow in steps, so they take
 * more than was promised.
 */
const KV_SHARE = 0.9
/** From small to large, to suggest one that fits. */
const SMALLER: readonly Quant[] = ['int4', 'int8']

/** What the machine has. */
export interface Room {
  /** Bytes for weights, sessions and working memory. */
  readonly memoryBytes: number
  /** Bytes for tensors that must be fetched. Default: no limit. */
  readonly diskBytes?: number | undefined
}

/** What blocks [start, end) need. */
export interface SpanNeed {
  readonly weightBytes: number
  /** Keys and values of the tokens that were asked for, in bytes. */
  readonly kvBytes: number
  readonly workingBytes: number
  readonly totalBytes: number
}

export function spanNeed(sizes: ModelSizes, range: BlockSpan, kvTokens: number): SpanNeed {
  const tokens = Math.min(kvTokens, sizes.config.contextLength)
  const weightBytes = spanBytes(sizes, range)
  const kvBytes = Math.ceil((tokens * sizes.kvBytesPerToken * blocksIn(range)) / KV_SHARE)
  const working = workingBytes(sizes, tokens)
  const totalBytes = weightBytes + kvBytes + working
  return { weightBytes, kvBytes, workingBytes: working, totalBytes }
}

/** Tokens that sessions can be promised in the memory left beside the weights. */
export function sessionTokens(sizes: ModelSizes, blocks: number, freeBytes: number): number {
  const behind = (tokens: number): number => {
    const forSessions = Math.max(0, freeBytes - workingBytes(sizes, tokens)) * KV_SHARE
    return Math.floor(forSessions / (blocks * sizes.kvBytesPerToken))
  }
  const tokens = behind(KV_TOKENS)
  // If only short sessions fit, prompts are short too and need less working memory.
  return tokens >= LEAST_KV_TOKENS ? tokens : Math.min(behind(LEAST_KV_TOKENS), LEAST_KV_TOKENS)
}

/** Why no further block fits. */
export type Bound = 'model' | 'memory' | 'disk'

export interface Fit {
  readonly blocks: number
  readonly bound: Bound
}

/**
 * How many blocks fit, wherever in the model they lie. Their place is chosen later.
 * @param missingBytes of each block: bytes to be fetched; see missingOf
 */
export function fit(sizes: ModelSizes, room: Room, missingBytes: readonly number[] = []): Fit {
  const { blockCount } = sizes.config
  const { memoryBytes, diskBytes = Infinity } = room
  for (let blocks = blockCount; blocks > 0; blocks--) {
    // A single block may be served with little room for sessions; that is better than none.
    const kvTokens = blocks === 1 ? LEAST_KV_TOKENS : KV_TOKENS
    const need = spanNeed(sizes, heaviest(sizes, blocks), kvTokens)
    if (need.totalBytes > memoryBytes) continue
    if (mostMissing(missingBytes, blocks) <= diskBytes) {
      return { blocks, bound: boundOf(sizes, blocks + 1, memoryBytes) }
    }
  }
  return { blocks: 0, bound: boundOf(sizes, 1, memoryBytes) }
}

function boundOf(sizes: ModelSizes, blocks: number, memoryBytes: number): Bound {
  if (blocks > sizes.config.blockCount) return 'model'
  const kvTokens = blocks === 1 ? LEAST_KV_TOKENS : KV_TOKENS
  const need = spanNeed(sizes, heaviest(sizes, blocks), kvTokens)
  return need.totalBytes > memoryBytes ? 'memory' : 'disk'
}

/** Bytes of each block that are not on this machine yet. */
export function missingOf(model: Model): number[] {
  return Array.from({ length: model.config.blockCount }, (_, block) =>
    model.missingBytes(blockTensorNames(model.tensors, block, block + 1))
  )
}

/**
 * How many blocks fit.
 * @throws AppError NO_MEMORY or UNAVAILABLE with the numbers if not even one does
 */
export function blocksThatFit(model: Model, holding: Holding, room: Room): number {
  const sizes = sizesOf(model.config, model.tensors, holding)
  const missing = room.diskBytes === undefined ? [] : missingOf(model)
  const { blocks, bound } = fit(sizes, room, missing)
  if (blocks > 0) return blocks
  if (bound === 'disk') {
    throw new AppError(
      'UNAVAILABLE',
      `Not one block fits on the disk: it takes ${formatBytes(mostMissing(missing, 1))}, ` +
        `${formatBytes(room.diskBytes ?? 0)} are free`,
      { hint: 'Make room with petals rm MODEL, or give more with --disk', retryable: false }
    )
  }
  const need = spanNeed(sizes, heaviest(sizes, 1), LEAST_KV_TOKENS)
  throw tooLarge('Not one block fits', { model, holding, need, memoryBytes: room.memoryBytes })
}

/** @throws AppError NO_MEMORY with the numbers if blocks [start, end) do not fit */
export function checkFits(
  model: Model,
  holding: Holding,
  range: BlockSpan,
  memoryBytes: number
): void {
  const sizes = sizesOf(model.config, model.tensors, holding)
  const need = spanNeed(sizes, range, LEAST_KV_TOKENS)
  if (need.totalBytes <= memoryBytes) return
  const what = `Blocks ${range.start}:${range.end} do not fit`
  throw tooLarge(what, { model, holding, need, memoryBytes })
}

function tooLarge(
  what: string,
  facts: { model: Model; holding: Holding; need: SpanNeed; memoryBytes: number }
): AppError {
  const { model, holding, need, memoryBytes } = facts
  const sizes = sizesOf(model.config, model.tensors, holding)
  const bytes = formatBytes
  const { blocks } = fit(sizes, { memoryBytes })
  return new AppError(
    'NO_MEMORY',
    `${what}: ${bytes(need.totalBytes)} are needed, ${bytes(need.weightBytes)} for weights in ` +
      `${sizes.quant}, ${bytes(need.kvBytes)} for a session, ${bytes(need.workingBytes)} to work with; ` +
      `there are ${bytes(memoryBytes)}`,
    { hint: advice(model, holding, { fitting: blocks, memoryBytes }), retryable: false }
  )
}

/** Says what would fit instead. */
function advice(
  model: Model,
  holding: Holding,
  facts: { fitting: number; memoryBytes: number }
): string {
  const { fitting, memoryBytes } = facts
  const { quant, kv } = typeof holding === 'string' ? { quant: holding } : holding
  const ways = SMALLER.filter((other) => other !== quant).flatMap((other) => {
    const { blocks } = fit(sizesOf(model.config, model.tensors, { quant: other, kv }), {
      memoryBytes
    })
    return blocks > fitting ? [`${blocks} with --quant ${other}`] : []
  })
  const here = fitting > 0 ? [`${fitting} blocks in ${quant}`, ...ways] : ways
  const more = 'give more with --memory, or free some'
  return here.length > 0 ? `There is room for ${here.join(', ')}; or ${more}` : capital(more)
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}

function blocksIn({ start, end }: BlockSpan): number {
  return end - start
}

/** The `count` consecutive blocks that need the most memory. */
function heaviest(sizes: ModelSizes, count: number): BlockSpan {
  const { blockCount } = sizes.config
  let best = { start: 0, end: count }
  let most = 0
  for (let start = 0; start + count <= blockCount; start++) {
    const bytes = spanBytes(sizes, { start, end: start + count })
    if (bytes <= most) continue
    best = { start, end: start + count }
    most = bytes
  }
  return best
}

/** The most bytes that any `count` consecutive blocks lack. */
function mostMissing(missingBytes: readonly number[], count: number): number {
  let most = 0
  for (let start = 0; start + count <= missingBytes.length; start++) {
    const window = missingBytes.slice(start, start + count)
    most = Math.max(
      most,
      window.reduce((sum, bytes) => sum + bytes, 0)
    )
  }
  return most
}
