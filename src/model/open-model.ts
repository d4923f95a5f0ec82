// Opens a model from where it lies, on the main thread and in the compute worker alike.
// Knows the kinds of sources; each has a file of its own.
import type { RangeFetcher } from './create-model.ts'
import { openFolder } from './formats/folder.ts'
import { openGguf } from './formats/gguf.ts'
import { openLlama2c } from './formats/llama2c.ts'
import type { Model, ModelLocation } from './types.ts'

/**
 * `fetcher` is for the thread that fetches, which is the main one: what it brings, others find.
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
