// What a compiled executable carries. Run from source it carries nothing: scripts/build.ts puts a
// generated module with the same exports in this one's place.
import type { NativeSet } from './files/native-files.ts'
import type { BuildInfo } from './build-info.ts'

export interface Embedded {
  readonly build: BuildInfo
  readonly onnxruntime: NativeSet
  readonly sodium: NativeSet
  /** One library for each instruction set. */
  readonly kernels: NativeSet
}

export const embedded: Embedded | undefined = undefined
