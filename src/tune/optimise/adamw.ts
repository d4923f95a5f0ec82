// AdamW on lists of floats: state and update are float32, each step computed in float64 and rounded
// once, so that the same gradients give the same parameters everywhere.
import { power } from '../../base/double-math.ts'

export interface AdamWOptions {
  /** Default 0.9 and 0.999. */
  readonly beta1?: number | undefined
  readonly beta2?: number | undefined
  /** Default 1e-8. */
  readonly epsilon?: number | undefined
  /** Default 0. */
  readonly weightDecay?: number | undefined
}

/** What an optimiser remembers of one list of parameters. */
export interface AdamWState {
  /** Steps done. */
  step: number
  /** Means of the gradients and of their squares. */
  readonly mean: Float32Array
  readonly square: Float32Array
}

export function newAdamWState(length: number): AdamWState {
  return { step: 0, mean: new Float32Array(length), square: new Float32Array(length) }
}

/** Changes `values` by one step of the learning rate. */
export function adamW(
  values: Float32Array,
  gradient: Float32Array,
  state: AdamWState,
  { learningRate, ...options }: AdamWOptions & { readonly learningRate: number }
): void {
  const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0 } = options
  const { mean, square } = state
  state.step++
  const first = 1 - power(beta1, state.step)
  const second = 1 - power(beta2, state.step)
  for (let i = 0; i < values.length; i++) {
    const g = gradient[i]!
    mean[i] = beta1 * mean[i]! + (1 - beta1) * g
    square[i] = beta2 * square[i]! + (1 - beta2) * g * g
    const decayed = values[i]! * (1 - learningRate * weightDecay)
    const size = Math.sqrt(square[i]! / second) + epsilon
    values[i] = decayed - (learningRate * (mean[i]! / first)) / size
  }
}

/** The length of several gradients taken as one. */
export function gradientNorm(gradients: readonly Float32Array[]): number {
  let sum = 0
  for (const gradient of gradients) {
    for (let i = 0; i < gradient.length; i++) sum += gradient[i]! * gradient[i]!
  }
  return Math.sqrt(sum)
}

/** Shortens gradients that are longer than `most` together; their length before. */
export function clipGradients(gradients: readonly Float32Array[], most: number): number {
  const norm = gradientNorm(gradients)
  if (norm <= most || most <= 0) return norm
  const factor = most / (norm + 1e-6)
  for (const gradient of gradients) {
    for (let i = 0; i < gradient.length; i++) gradient[i] = gradient[i]! * factor
  }
  return norm
}
