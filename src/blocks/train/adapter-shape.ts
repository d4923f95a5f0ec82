// Which products of a model an adapter adds to, and the order of its numbers in one list. Knows no
// memory and no files.
import { badInput, unsupported } from '../../base/errors.ts'
import type { BlockSpan } from '../../base/block-span.ts'
import type { ModelConfig } from '../../model/types.ts'
import { graphOf } from '../families/graph-of.ts'

/** What all numbers of an adapter share. */
export interface AdapterShape {
  readonly rank: number
  /** Factor of the product of both matrices: alpha / rank. */
  readonly scale: number
  /** Parts of a block by their canonical names, e.g. 'self_attn.q_proj', in the family's order. */
  readonly targets: readonly string[]
}

/** One target of a block. */
export interface AdapterPart {
  readonly target: string
  readonly group: string
  readonly inputs: number
  readonly outputs: number
  /** First column of the group's product that it is added to. */
  readonly column: number
}

/** A larger rank is not low any more, and would need too much memory. */
export const MOST_RANK = 256

/** Parts of experts as files call them. */
const EXPERTS = /\b(experts|block_sparse_moe|router|mlp\.gate)\b/

/** All parts of a block that an adapter can add to, in order. */
export function adapterParts(config: ModelConfig): AdapterPart[] {
  return graphOf(config.family)
    .matrices(config)
    .filter(({ name }) => name !== 'router' && !name.startsWith('experts.'))
    .flatMap(({ name: group, parts, columns: inputs }) => {
      let column = 0
      return parts.map(({ part: target, rows: outputs }): AdapterPart => {
        const made = { target, group, inputs, outputs, column }
        column += outputs
        return made
      })
    })
}

/**
 * The parts of a shape's targets, in order.
 * @throws AppError BAD_INPUT for an impossible rank or scale, UNSUPPORTED for a target that the
 * model's blocks do not have
 */
export function targetParts(config: ModelConfig, shape: AdapterShape): AdapterPart[] {
  const { rank, scale, targets } = shape
  if (!Number.isInteger(rank) || rank < 1 || rank > MOST_RANK) {
    throw badInput(`An adapter of rank ${rank} cannot be used: 1 to ${MOST_RANK} can`)
  }
  if (!Number.isFinite(scale)) throw badInput(`An adapter cannot be scaled by ${scale}`)
  const all = adapterParts(config)
  const unknown = targets.find((target) => !all.some((part) => part.target === target))
  if (unknown !== undefined) {
    const why = EXPERTS.test(unknown) ? 'experts are not trained' : "the model's blocks lack it"
    throw unsupported(`An adapter for '${unknown}' cannot be used: ${why}`, {
      hint: `They have ${all.map(({ target }) => target).join(', ')}`
    })
  }
  if (targets.length === 0 || new Set(targets).size < targets.length) {
    throw badInput('An adapter cannot be used: its targets are none, or one is there twice')
  }
  return all.filter(({ target }) => targets.includes(target))
}

/** Numbers of one block: of each target in order A (rank, inputs), then B (outputs, rank). */
export function blockNumbers(parts: readonly AdapterPart[], rank: number): number {
  return parts.reduce((sum, { inputs, outputs }) => sum + rank * (inputs + outputs), 0)
}

/** Numbers of blocks [start, end), block after block. */
export function adapterNumbers(
  config: ModelConfig,
  shape: AdapterShape,
  { start, end }: BlockSpan
): number {
  return (end - start) * blockNumbers(targetParts(config, shape), shape.rank)
}
