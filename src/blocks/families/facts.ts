// What every lowering of a block needs to know: names of weights and tables, which blocks see a
// window only, how scores lose with distance.
import { power } from '../../base/double-math.ts'
import type { ModelConfig } from '../../model/types.ts'
import type { MatrixForm } from '../quantise/form.ts'

/** A linear layer of a block: its form is decided, its weights lie under `name`. */
export interface LinearPart {
  readonly name: string
  readonly rows: number
  readonly columns: number
  readonly form: MatrixForm
  /** Whether a value is added to each row's product; it lies under `name.bias`. */
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

/** Whether a block sees a window only. */
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

/** Names of the tables (positions, headDim / 2) that a block's queries and keys are turned by. */
export function ropeNames(config: ModelConfig, block: number): RopeNames {
  const isLocal = config.ropeLocalTheta !== undefined && isWindowed(config, block)
  return isLocal ? ROPE_LOCAL : ROPE_GLOBAL
}

/**
 * ALiBi: of how many heads the slopes are a plain geometric row from 2 ** (-8 / heads) down to 2 **
 * -8.
 */
export function alibiSlopes(heads: number): Float32Array {
  const whole = 2 ** (31 - Math.clz32(heads))
  return Float32Array.from({ length: heads }, (_, head) =>
    // Heads beyond a power of two take every other slope of twice as many.
    power(2, head < whole ? (-8 * (head + 1)) / whole : (-4 * (2 * (head - whole) + 1)) / whole)
  )
}
