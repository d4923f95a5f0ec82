// PETALS_CPU: the instruction set at most, for tests and for processors that misbehave. Read here
// and not in cli/: threads and test processes load kernels too, and all must load the same.
import type { Variant } from './kernels.ts'
import { parseVariant } from './libraries.ts'

/** @throws AppError BAD_INPUT */
export function wantedVariant(
  env: Record<string, string | undefined> = process.env
): Variant | undefined {
  return parseVariant(env['PETALS_CPU'])
}
