// Prints which kernels a process loads, or why it loads none.
import { AppError } from '../../../src/base/errors.ts'
import { loadKernels } from '../../../src/kernels/load.ts'

try {
  console.log(loadKernels().variant)
} catch (error) {
  if (!(error instanceof AppError)) throw error
  console.log(`${error.code} ${error.message}: ${error.hint}`)
}
