// Opens a model from its location, on the main thread and in the compute worker alike. Each kind of
// source has its own file.
import type { RangeFetcher } from './create-model.ts'
import { openFolder } from './formats/folder.ts'
import { openGguf } from './formats/gguf.ts'
import { openLlama2c } from './formats/llama2c.ts'
import type { Model, ModelLocation } from './types.ts'

/**
 * `fetcher` is for the main thread, which fetches; other threads find what it has fetched.
 * @throws AppError NOT_FOUND, CORRUPT, UNSUPPORTED
 */
export async function openModel(location: ModelLocation, fetcher?: RangeFetcher): Promise<Model> {
  switch (location.kind) {
    case 'gguf':
      return openGguf(location, fetcher)
    case 'folder':
      return openFolder(location, fetcher)
    case 'llama2c':
      return openLlama2c(location)
    default:
      throw new TypeError(`Unknown kind of model '${String(location.kind)}'`)
  }
}
