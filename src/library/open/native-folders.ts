// Where libraries of native code lie: those of an executable are unpacked on first use. Undefined
// stands for a source tree, where each is found by its own loader.
import type { BuildInfo } from '../../base/build-info.ts'
import { embedded } from '../../base/embedded.ts'
import { type AppError, unsupported } from '../../base/errors.ts'
import { unpackNativeSet } from '../../base/files/native-files.ts'

/** `cache` is `Paths.cache`. @throws AppError as unpackNativeSet() does */
export function kernelFolder(cache: string): string | undefined {
  return embedded && unpackNativeSet(embedded.kernels, cache)
}

/** @throws AppError UNSUPPORTED in builds without it, and as unpackNativeSet() does */
export function onnxruntimeFolder(cache: string): string | undefined {
  if (embedded === undefined) return undefined
  const { onnxruntime, build } = embedded
  if (onnxruntime === undefined) throw noOnnxruntime(build)
  return unpackNativeSet(onnxruntime, cache)
}

export function noOnnxruntime({ target }: BuildInfo): AppError {
  return unsupported(`GPUs cannot be used: the build for ${target} has no onnxruntime`, {
    hint: target.endsWith('-musl')
      ? 'Use --device cpu, or on a Linux with glibc its own build'
      : 'Use --device cpu'
  })
}
