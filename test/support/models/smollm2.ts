// SmolLM2's GGUF for tests: fetched once by the product's own resolver into the repository's .cache
// folder.
import { join } from 'node:path'
import { toAppError } from '../../../src/base/errors.ts'
import { resolveModel } from '../../../src/model/resolve.ts'
import type { ModelLocation } from '../../../src/model/types.ts'

const cacheDir = join(import.meta.dir, '..', '..', '..', '.cache', 'petals')

let location: Promise<ModelLocation> | undefined

/** Where the model lies. A test that needs it fails, and says why, when it cannot be had. */
export function smollm2Location(): Promise<ModelLocation> {
  location ??= resolveModel('smollm2-135m', { cacheDir }).catch((error: unknown) => {
    const { message, hint } = toAppError(error)
    throw new Error(
      `These tests need SmolLM2, 94 MiB, and cannot get it: ${message}. ${hint ?? ''}`
    )
  })
  return location
}
