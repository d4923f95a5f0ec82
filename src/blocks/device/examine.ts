// Finds out whether a device can compute here, as plain data to be shown to a person. A broken
// driver or library may crash the process, so cli/doctor/doctor-device.ts runs this in a process of
// its own and receives each fact as soon as it is known.
import { toAppError } from '../../base/errors.ts'
import { createOnnx } from '../create-backend.ts'
import { errorRecord, type ErrorRecord } from '../messages.ts'
import { OrtRuntime } from '../ort/runtime.ts'
import type { Device } from '../types.ts'
import { cudaFacts, type CudaFacts } from './cuda.ts'
import { driverFacts, type DriverFacts } from './cuda-driver.ts'
import { cudaPlace } from './provider.ts'
import { trustedRows } from './self-check.ts'
import { vulkanFacts, type VulkanFacts } from './webgpu.ts'

/** What is known of a device so far. */
export interface DeviceFacts {
  readonly library?: { readonly version: string; readonly buildInfo: string }
  readonly cuda?: CudaFacts
  readonly driver?: DriverFacts
  readonly vulkan?: VulkanFacts
  /** Whether it computed correctly, and for how many rows at once. */
  readonly engine?: { readonly rows: number } | { readonly fault: ErrorRecord }
}

export interface ExamineOptions {
  /** Folder with onnxruntime's library. Default: the onnxruntime-node package's. */
  libraryDir?: string | undefined
  /** Folder of CUDA's libraries by version. Default: `cuda` beside the library. */
  cudaDir?: string | undefined
}

/** Calls `emit` with each fact; what may crash comes last. */
export function examineDevice(
  device: Device,
  options: ExamineOptions,
  emit: (facts: DeviceFacts) => void
): void {
  try {
    const runtime = new OrtRuntime(options.libraryDir)
    const { version, buildInfo } = runtime
    emit({ library: { version, buildInfo } })
    if (device === 'cuda') {
      const facts = cudaFacts(cudaPlace(runtime, options.cudaDir))
      emit({ cuda: facts })
      if (facts.driver && facts.driver.reason === undefined) emit({ driver: driverFacts() })
    }
    const vulkan = device === 'webgpu' ? vulkanFacts() : undefined
    if (vulkan) emit({ vulkan })
    emit({ engine: { rows: rowsOf(device, options) } })
  } catch (thrown) {
    emit({ engine: { fault: errorRecord(toAppError(thrown)) } })
  }
}

/** Runs an attention on the device and compares it with the CPU's. @throws AppError */
function rowsOf(device: Device, options: ExamineOptions): number {
  const { libraryDir, cudaDir } = options
  const backend = createOnnx({
    threads: 1,
    device,
    deviceId: 0,
    memoryBytes: 0,
    libraryDir,
    cudaDir,
    scratchDir: undefined
  })
  // A device's backend has been checked already. The CPU has nothing to be compared with, but must
  // run.
  if (device === 'cpu') return trustedRows(backend.runtime, device, backend.settings)
  return backend.chunkRows
}
