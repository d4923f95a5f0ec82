// Where onnxruntime's library is and which of its files an executable must carry. Knows the
// package's layout, not what the library contains.
import { readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { unsupported } from '../../base/errors.ts'

export type OrtPlatform = 'linux' | 'darwin' | 'win32'

/** What a target needs besides the library itself. The Node binding is not used. */
const LIBRARY_FILES: Readonly<Record<OrtPlatform, RegExp>> = {
  linux: /^libonnxruntime(_providers_\w+)?\.so(\.\d+)?$/,
  // The package has the same file under two names; the library's own name is enough.
  darwin: /^libonnxruntime_providers_\w+\.dylib$/,
  win32: /^(onnxruntime(_providers_\w+)?|DirectML|dxcompiler|dxil)\.dll$/
}

const LIBRARY_NAME: Readonly<Record<OrtPlatform, string>> = {
  linux: 'libonnxruntime.so.1',
  darwin: 'libonnxruntime.1.dylib',
  win32: 'onnxruntime.dll'
}

/** The folder of onnxruntime-node with the libraries of a target, in a source tree. */
export function ortPackageDir(
  platform: string = process.platform,
  arch: string = process.arch
): string {
  const entry = createRequire(import.meta.url).resolve('onnxruntime-node/package.json')
  return join(dirname(entry), 'bin', 'napi-v6', platform, arch)
}

/**
 * File names in `ortPackageDir` that must lie beside each other for a target; the first is the
 * library.
 * @throws AppError UNSUPPORTED when the package has no build for it.
 */
export function ortLibraryFiles(
  platform: string = process.platform,
  arch: string = process.arch
): string[] {
  const name = ortLibraryName(platform)
  let files: string[]
  try {
    // Links are not part of the package: --device cuda puts links to its provider there.
    files = readdirSync(ortPackageDir(platform, arch), { withFileTypes: true })
      .filter((entry) => !entry.isSymbolicLink())
      .map((entry) => entry.name)
  } catch (cause) {
    throw unsupported(`onnxruntime cannot be used: its package has no ${platform} ${arch} build`, {
      cause
    })
  }
  const pattern = LIBRARY_FILES[platform as OrtPlatform]
  const rest = files.filter((file) => file !== name && pattern.test(file))
  return [name, ...rest.sort()]
}

/** The library's file name on a platform. @throws AppError UNSUPPORTED */
export function ortLibraryName(platform: string = process.platform): string {
  const name = LIBRARY_NAME[platform as OrtPlatform]
  if (name === undefined) {
    throw unsupported(`onnxruntime cannot be used: there is no build for '${platform}'`)
  }
  return name
}
