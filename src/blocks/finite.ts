// Whether numbers came out: one sum finds every NaN and infinity, as neither ever leaves a sum again.
import { computeError } from '../base/errors.ts'

/** @throws AppError COMPUTE naming `what` */
export function requireNumbers(values: Float32Array, what: string): void {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]!
  if (!Number.isFinite(sum)) {
    throw computeError(`${what} gave values that are no numbers`, { retryable: false })
  }
}
