// What --version says of the kernels: the arithmetic, and the instruction set that this CPU and
// PETALS_CPU come to.
import { existsSync } from 'node:fs'
import { embedded } from '../base/embedded.ts'
import { toAppError } from '../base/errors.ts'
import { ARITHMETIC } from '../kernels/arithmetic.ts'
import { compiledFolder } from '../kernels/development.ts'
import { loadKernels } from '../kernels/load.ts'
import { kernelFolder } from '../library/open/native-folders.ts'

/** Never throws: whoever asks for the version may do so because nothing else works. */
export function kernelsLine(cache: string): string {
  const name = `kernels ${ARITHMETIC}`
  try {
    // Compiling would take long, and --version needs it least.
    if (!embedded && !existsSync(compiledFolder(process))) return `${name}, not compiled yet`
    return `${name}, ${loadKernels({ folder: kernelFolder(cache) }).variant}`
  } catch (thrown) {
    return `${name}, cannot be used: ${toAppError(thrown).message}`
  }
}
