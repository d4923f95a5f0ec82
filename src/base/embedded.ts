// The files that a compiled executable carries. Run from source there are none: scripts/build.ts
// puts a generated module with the same exports in the place of this one.
import type { NativeSet } from './files/native-files.ts'
import type { BuildInfo } from './build-info.ts'

export interface Embedded {
  readonly build: BuildInfo
  /** Undefined where it cannot be had: macOS x64, and Linux without glibc. */
  readonly onnxruntime?: NativeSet | undefined
  readonly sodium: NativeSet
  /** One library for each instruction set. */
  readonly kernels: NativeSet
}

export const embedded: Embedded | undefined = undefined
