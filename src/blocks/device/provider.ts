// Adds a device's execution provider to a session's options. Knows the C API's names for devices.
import { ptr, type Pointer } from 'bun:ffi'
import { join } from 'node:path'
import { toAppError, unavailable, unsupported } from '../../base/errors.ts'
import { cstring } from '../ort/libc.ts'
import type { OrtRuntime } from '../ort/runtime.ts'
import type { Device } from '../types.ts'
import { cudaRefusal, prepareCuda, type CudaPlace } from './cuda.ts'
import { cudaFolder } from './cuda-packages.ts'
import { requireVulkan } from './webgpu.ts'

export type Accelerator = Exclude<Device, 'cpu'>

/** The providers' names for their memory. */
export const DEVICE_MEMORY: Readonly<Record<Accelerator, string>> = {
  cuda: 'Cuda',
  webgpu: 'WebGPU_Buf'
}

export interface ProviderOptions {
  deviceId: number
  /** Folder of CUDA's libraries by version. Default: `cuda` beside the library. */
  cudaDir?: string | undefined
}

/**
 * A function that adds the device to a session's options. @throws AppError UNAVAILABLE, UNSUPPORTED
 */
export function deviceProvider(
  runtime: OrtRuntime,
  device: Accelerator,
  { deviceId, cudaDir }: ProviderOptions
): (options: Pointer) => void {
  // Create the environment first: creating sessions writes to its log.
  void runtime.env
  if (device === 'webgpu') return webgpuProvider(runtime, deviceId)
  prepareCuda(cudaPlace(runtime, cudaDir))
  return (options) => appendCuda(runtime, options, deviceId)
}

/** Where CUDA's libraries are looked for. */
export function cudaPlace(runtime: OrtRuntime, cudaDir: string | undefined): CudaPlace {
  const { directory, version } = runtime
  const folder = cudaFolder(cudaDir ?? join(directory, 'cuda'), version)
  return { libraryDir: directory, folder, version }
}

function appendCuda(runtime: OrtRuntime, options: Pointer, deviceId: number): void {
  const cuda = runtime.make('CreateCUDAProviderOptions')
  try {
    const [keys, values] = [strings(['device_id']), strings([String(deviceId)])]
    runtime.run('UpdateCUDAProviderOptions', cuda, keys.pointers, values.pointers, 1)
    runtime.run('SessionOptionsAppendExecutionProvider_CUDA_V2', options, cuda)
  } catch (error) {
    throw cudaRefusal(toAppError(error))
  } finally {
    runtime.release('ReleaseCUDAProviderOptions', cuda)
  }
}

function webgpuProvider(runtime: OrtRuntime, deviceId: number): (options: Pointer) => void {
  if (deviceId !== 0) {
    throw unsupported(`WebGPU device ${deviceId} cannot be chosen: the system chooses its GPU`)
  }
  requireVulkan()
  return (options) => {
    try {
      runtime.run(
        'SessionOptionsAppendExecutionProvider',
        options,
        cstring('WebGPU'),
        null,
        null,
        0
      )
    } catch (cause) {
      throw unavailable(`WebGPU cannot be used: ${reasonOf(toAppError(cause).message)}`, {
        hint:
          process.platform === 'linux'
            ? "Install your GPU's Vulkan driver and libvulkan1, or use --device cpu"
            : 'Update the graphics driver, or use --device cpu',
        cause
      })
    }
  }
}

/** The engine's message without its source lines. */
function reasonOf(message: string): string {
  return /Failed to get a WebGPU [^\n]*/.exec(message)?.[0] ?? message.trim()
}

/** An array of C strings and what must be kept reachable while it is used. */
function strings(texts: readonly string[]): { pointers: BigUint64Array; keep: Uint8Array[] } {
  const keep = texts.map(cstring)
  return { pointers: BigUint64Array.from(keep, (text) => BigInt(ptr(text))), keep }
}
