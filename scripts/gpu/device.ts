// What the parts of prove-gpu.ts share: the device under proof, the CPU's kernels beside it, and a
// tally.
import { join } from 'node:path'
import { embedded } from '../../src/base/embedded.ts'
import { unpackNativeSet } from '../../src/base/files/native-files.ts'
import { Compute } from '../../src/blocks/compute.ts'
import type { ComputeDevice } from '../../src/blocks/types.ts'

/**
 * 'onnx-cpu' stands for a GPU where there is none: the same graphs by the library's CPU provider.
 */
export type ProvenDevice = Extract<ComputeDevice, 'cuda' | 'webgpu' | 'onnx-cpu'>

export interface Place {
  readonly device: ProvenDevice
  /** The project's tree, for fixtures. */
  readonly root: string
  /** For models, caches and homes. */
  readonly folder: string
  /** Folder of CUDA's libraries by version. */
  readonly cudaDir: string | undefined
  /** Bytes a second that the device's memory gives; undefined: unknown. */
  readonly bandwidth: number | undefined
}

export function computeOn(place: Place, device: ComputeDevice): Compute {
  const cache = join(place.folder, 'cache')
  const own = device === 'cpu' ? embedded?.kernels : embedded?.onnxruntime
  const folder = own === undefined ? undefined : unpackNativeSet(own, cache)
  return new Compute({
    device,
    scratchDir: place.folder,
    ...(device === 'cpu' ? { threads: 2 } : {}),
    ...(folder === undefined
      ? {}
      : device === 'cpu'
        ? { kernelDir: folder }
        : { libraryDir: folder }),
    ...(place.cudaDir === undefined ? {} : { cudaDir: place.cudaDir })
  })
}

/** Counts what held and what did not, and says each with its time. */
export class Tally {
  passed = 0
  failed = 0

  async check(name: string, body: () => Promise<string>): Promise<void> {
    const began = performance.now()
    const seconds = (): string => `${((performance.now() - began) / 1000).toFixed(1)} s`
    try {
      const found = await body()
      this.passed++
      console.log(`  ok      ${name}: ${found}  (${seconds()})`)
    } catch (error) {
      this.failed++
      const why = error instanceof Error ? error.message : String(error)
      console.log(`  FAILED  ${name}: ${why}  (${seconds()})`)
    }
  }
}

/** @throws Error when a measured value is over its bound */
export function within(what: string, value: number, bound: number): string {
  const text = `${what} ${value.toExponential(1)}, at most ${bound.toExponential(1)}`
  if (value <= bound) return text
  throw new Error(text)
}
