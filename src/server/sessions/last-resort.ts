// Memory of last resort: what kept prefixes hold is freed, one by one, before anything is refused
// for want of memory. Knows neither prefixes nor what needs the memory.
import { toAppError } from '../../base/errors.ts'

/** Frees something that can be spared; false when nothing is left. */
export type FreeOne = () => Promise<boolean>

/**
 * Does `act`, again after each piece of memory that was freed, until it works or nothing is left to
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
