// Loads libsodium's addon in a compiled executable. scripts/build.ts puts this in place of the
// package's own loader, which would search node_modules. Not used when run from source.
import { join } from 'node:path'
import { embedded } from '../base/embedded.ts'
import { internal } from '../base/errors.ts'
import { loadFailed, unpackNativeSet } from '../base/files/native-files.ts'
import { resolvePaths } from '../base/paths.ts'

/** The addon's exports. @throws AppError UNAVAILABLE if it cannot be unpacked or loaded */
export function loadSodiumAddon(): unknown {
  const [file] = embedded?.sodium.files ?? []
  if (!embedded || !file) throw internal('No addon is embedded: this is not the executable')
  const path = join(unpackNativeSet(embedded.sodium, resolvePaths(process.env).cache), file.name)
  const module = { exports: {} as unknown }
  try {
    process.dlopen(module, path)
  } catch (cause) {
    throw loadFailed(path, cause)
  }
  return module.exports
}
