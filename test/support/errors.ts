// How far numbers are from what they should be.

/** Largest difference over the largest value of `expected`; of another length: infinite. */
export function worstError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [error, size] = [0, 0]
  for (let i = 0; i < expected.length; i++) {
    error = Math.max(error, Math.abs(actual[i]! - expected[i]!))
    size = Math.max(size, Math.abs(expected[i]!))
  }
  return actual.length === expected.length && Number.isFinite(error) ? error / size : Infinity
}
