// The models that benchmarks run on both sides: a name that petals knows, or the random one, as a
// GGUF file.
import { join } from 'node:path'
import { resolveModel } from '../../../src/model/resolve.ts'
import type { ModelLocation } from '../../../src/model/types.ts'
import { RANDOM_MODEL, randomModelFile } from './random-model.ts'

const cache = join(import.meta.dir, '..', '..', '..', '.cache')

export interface BenchModel {
  readonly location: ModelLocation
  /** The file, for llama.cpp. */
  readonly path: string
  /** The model's name for petals. */
  readonly argument: string
}

/**
 * Fetches or writes the file when it is missing.
 * @throws Error when it is not a file that llama.cpp reads
 */
export async function benchModel(name: string): Promise<BenchModel> {
  if (name === RANDOM_MODEL) {
    const path = randomModelFile(join(cache, 'bench'))
    return { location: { kind: 'gguf', paths: [path] }, path, argument: path }
  }
  const location = await resolveModel(name, { cacheDir: join(cache, 'petals') })
  const [path] = location.paths
  if (location.kind !== 'gguf' || path === undefined) {
    throw new Error(`llama.cpp wants a GGUF file, which '${name}' is not`)
  }
  return { location, path, argument: name }
}
