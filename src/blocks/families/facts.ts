// What every lowering needs to know of a block: names of weights and tables, which blocks see only
// a window, how ALiBi lowers scores with distance.
import { power } from '../../base/double-math.ts'
import type { ModelConfig } from '../../model/types.ts'
import type { MatrixForm } from '../quantise/form.ts'

/** A linear layer of a block. Its form is decided; its weights are stored under `name`. */
export interface LinearPart {
  readonly name: string
  readonly rows: number
  readonly columns: number
  readonly form: MatrixForm
  /** Whether a bias, stored under `name.bias`, is added to each row's product. */
  readonly bias?: boolean
}

/** Canonical name of a block's tensor. */
export function tensorName(
  block: number,
  part: string,
  suffix: 'weight' | 'bias' = 'weight'
): string {
  return `model.layers.${block}.${part}.${suffix}`
}

/** Names of the final norm's weights. */
export const FINAL_NORM = { weight: 'model.norm.weight', bias: 'model.norm.bias' } as const

/** Whether a block sees only a window. */
export function isWindowed(config: ModelConfig, block: number): boolean {
  const { window, fullEvery } = config
  return window !== undefined && (fullEvery === undefined || (block + 1) % fullEvery !== 0)
}

export interface RopeNames {
  readonly cos: string
  readonly sin: string
}

export const ROPE_GLOBAL: RopeNames = { cos: 'rope.cos', sin: 'rope.sin' }
export const ROPE_LOCAL: RopeNames = { cos: 'rope.local.cos', sin: 'rope.local.sin' }

/** Names of the tables (positions, rotary / 2) by which a block's queries and keys are rotated. */
export function ropeNames(config: ModelConfig, block: number): RopeNames {
  const isLocal = config.ropeLocalTheta !== undefined && isWindowed(config, block)
  return isLocal ? ROPE_LOCAL : ROPE_GLOBAL
}

/**
 * ALiBi's slope of each head, (heads): for a power of two a geometric sequence from 2 ** (-8 /
 * heads) down to 2 ** -8.
 */
export function alibiSlopes(heads: number): Float32Array {
  const whole = 2 ** (31 - Math.clz32(heads))
  return Float32Array.from({ length: heads }, (_, head) =>
    // Further heads take every other slope of the sequence for twice as many heads.
    power(2, head < whole ? (-8 * (head + 1)) / whole : (-4 * (2 * (head - whole) + 1)) / whole)
  )
}
