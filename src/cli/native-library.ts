// Where onnxruntime's library lies: in the dependencies when run from source, else in the cache,
// unpacked from the executable on first use.
import { embedded } from '../base/embedded.ts'
import { unpackNativeSet } from '../base/native-files.ts'
import type { Paths } from '../base/paths.ts'
import { ortPackageDir } from '../blocks/ort/library.ts'

/** @throws AppError UNAVAILABLE when the cache cannot be written */
export function nativeLibraryDir(paths: Paths): string {
  return embedded ? unpackNativeSet(embedded.onnxruntime, paths.cache) : ortPackageDir()
}
