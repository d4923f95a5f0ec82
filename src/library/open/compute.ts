// Starts the compute worker, with the libraries that its device needs.
import { accessSync, constants, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Compute } from '../../blocks/compute.ts'
import type { Device } from '../../blocks/types.ts'
import type { Surroundings } from '../surroundings.ts'
import { cudaRoot } from './cuda-root.ts'
import { kernelFolder, onnxruntimeFolder } from './native-folders.ts'

export interface StartComputeOptions {
  /** Default: cores - 1. */
  threads?: number | undefined
  /** Default 'cpu'. */
  device?: Device | undefined
  /** Most memory that weights and caches take. Default: most of what is free. */
  memoryBytes?: number | undefined
  /** Most disk that converted weights and models take. Default: what is free. */
  diskBytes?: number | undefined
}

/** The caller closes it. @throws AppError */
export async function startCompute(
  options: StartComputeOptions,
  context: Surroundings
): Promise<Compute> {
  const { threads, device, memoryBytes, diskBytes } = options
  const { cache } = context.paths
  const compute = new Compute({
    ...nativeFolders(device, cache),
    cudaDir: cudaRoot(context.paths),
    ...(threads === undefined ? {} : { threads }),
    ...(device === undefined ? {} : { device }),
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    keep: { cacheDir: cache, diskBytes },
    scratchDir: scratchFolder(cache),
    onwarn: (text) => context.log.warn(text)
  })
  await compute.ready()
  return compute
}

/** Where an executable's own libraries lie: those that the device needs, unpacked on first use. */
function nativeFolders(
  device: Device | undefined,
  cache: string
): { kernelDir?: string; libraryDir?: string } {
  if (device === undefined || device === 'cpu') {
    const kernelDir = kernelFolder(cache)
    return kernelDir === undefined ? {} : { kernelDir }
  }
  const libraryDir = onnxruntimeFolder(cache)
  return libraryDir === undefined ? {} : { libraryDir }
}

/**
 * Not the system's folder for temporary files: where that lies in memory, weights would be there
 * twice. But that, where the cache cannot be written.
 */
function scratchFolder(cache: string): string {
  const folder = join(cache, 'scratch')
  try {
    mkdirSync(folder, { recursive: true })
    accessSync(folder, constants.W_OK)
    return folder
  } catch {
    return tmpdir()
  }
}
