// When memory runs out, frees kept prefixes one by one before anything is refused. Knows neither
// prefixes nor what needs the memory.
import { toAppError } from '../../base/errors.ts'

/** Frees one thing that is not needed; false if there is none left. */
export type FreeOne = () => Promise<boolean>

/**
 * Runs `act`; on NO_MEMORY frees something and tries again, until it works or nothing is left to
 * free.
 */
export async function withRoom<T>(freeOne: FreeOne, act: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await act()
    } catch (error) {
      if (toAppError(error).code !== 'NO_MEMORY' || !(await freeOne())) throw error
    }
  }
}
