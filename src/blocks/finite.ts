// Checks that values are finite. One sum finds every NaN and infinity, since neither ever leaves a
// sum again.
import { computeError } from '../base/errors.ts'

export function hasOnlyNumbers(values: Float32Array): boolean {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]!
  return Number.isFinite(sum)
}

/** @throws AppError COMPUTE naming `what` */
export function requireNumbers(values: Float32Array, what: string): void {
  if (!hasOnlyNumbers(values)) {
    throw computeError(`${what} gave values that are no numbers`, { retryable: false })
  }
}
