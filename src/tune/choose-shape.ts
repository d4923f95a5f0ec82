// What is trained, from what was asked for: a method, its sizes, matrices by their short names.
// Knows neither flags nor programs.
import { badInput } from '../base/errors.ts'
import { adapterNumbers, adapterParts, MOST_RANK } from '../blocks/train/adapter-shape.ts'
import type { ModelConfig } from '../model/types.ts'
import type { TuneMethod, TuneShape } from './parameters.ts'

export const METHODS: readonly TuneMethod[] = ['lora', 'prompt', 'deep-prompt']
export const MOST_POSITIONS = 1024

export interface ShapeWish {
  /** Default 'lora'. */
  readonly method?: TuneMethod | undefined
  /** 1 to MOST_RANK. Default 8. */
  readonly rank?: number | undefined
  /** An adapter counts alpha / rank. Default 2 * rank. */
  readonly alpha?: number | undefined
  /** It counts alpha / sqrt(rank), as rsLoRA has it. Default false. */
  readonly isRankStable?: boolean | undefined
  /** Matrices by their names, e.g. 'q_proj' or 'self_attn.q_proj'. Default: all. */
  readonly targets?: readonly string[] | undefined
  /** Share of the values that it does not read in a step, from 0 to below 1. Default 0. */
  readonly dropout?: number | undefined
  /** Rows of a prompt, 1 to MOST_POSITIONS. Default 16. */
  readonly positions?: number | undefined
  /** Names of classes, where texts are told apart. */
  readonly labels?: readonly string[] | undefined
}

/** @throws AppError BAD_INPUT for sizes and names that the model cannot have */
export function chooseShape(config: ModelConfig, wish: ShapeWish): TuneShape {
  const { method = 'lora', rank = 8, positions = 16, labels } = wish
  const classes = labels === undefined ? {} : { labels }
  if (method !== 'lora') {
    checkWhole('positions', positions, MOST_POSITIONS)
    return { method, positions, ...classes }
  }
  checkWhole('rank', rank, MOST_RANK)
  const { alpha = 2 * rank } = wish
  const targets = targetsOf(config, wish.targets)
  const isRankStable = wish.isRankStable === true
  const scale = alpha / (isRankStable ? Math.sqrt(rank) : rank)
  const { dropout = 0 } = wish
  if (!(dropout >= 0 && dropout < 1)) {
    throw badInput(`'dropout' cannot be ${dropout}`, { hint: 'Give a number from 0 to below 1' })
  }
  const kind = {
    ...(isRankStable ? { isRankStable } : {}),
    // As it travels.
    ...(dropout > 0 ? { dropout: Math.fround(dropout) } : {})
  }
  return { method, adapter: { rank, scale, targets }, ...kind, ...classes }
}

/** How many numbers are trained. */
export function shapeNumbers(config: ModelConfig, shape: TuneShape): number {
  const { adapter, method, positions = 0, labels = [] } = shape
  const { blockCount, hiddenSize } = config
  const score = labels.length * hiddenSize
  if (adapter !== undefined) {
    return score + adapterNumbers(config, adapter, { start: 0, end: blockCount })
  }
  return score + positions * hiddenSize * (method === 'prompt' ? 1 : 1 + blockCount)
}

function targetsOf(config: ModelConfig, names: readonly string[] | undefined): string[] {
  const all = adapterParts(config).map(({ target }) => target)
  if (names === undefined) return all
  const isNamed = (target: string, name: string): boolean =>
    target === name || target.endsWith(`.${name}`)
  const unknown = names.find((name) => !all.some((target) => isNamed(target, name)))
  if (unknown !== undefined) {
    throw badInput(`'targets' cannot be '${unknown}': the model's blocks have no such matrix`, {
      hint: `They have ${all.map((target) => target.split('.').at(-1)).join(', ')}`
    })
  }
  return all.filter((target) => names.some((name) => isNamed(target, name)))
}

function checkWhole(name: string, value: number, most: number): void {
  if (Number.isInteger(value) && value >= 1 && value <= most) return
  throw badInput(`'${name}' cannot be ${value}`, { hint: `Give a whole number from 1 to ${most}` })
}
