// How the learning rate goes over a training: up during the warm-up, then down. Pure.
import { cosine } from '../../base/double-math.ts'

export type ScheduleKind = 'cosine' | 'linear' | 'constant'

export interface Schedule {
  readonly kind: ScheduleKind
  readonly learningRate: number
  /** Steps of the warm-up, of `steps` in all. */
  readonly warmup: number
  readonly steps: number
}

/** The learning rate of a step; the first one is 0. */
export function learningRateAt(
  { kind, learningRate, warmup, steps }: Schedule,
  step: number
): number {
  if (step < warmup) return (learningRate * (step + 1)) / (warmup + 1)
  const left = Math.max(1, steps - warmup)
  const done = Math.min(1, (step - warmup) / left)
  switch (kind) {
    case 'constant':
      return learningRate
    case 'linear':
      return learningRate * (1 - done)
    case 'cosine':
      return learningRate * 0.5 * (1 + cosine(Math.PI * done))
    default:
      throw new TypeError(`Unknown schedule '${String(kind)}'`)
  }
}
