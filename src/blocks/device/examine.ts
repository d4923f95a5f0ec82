// Finds out whether a device can compute here, as plain data to be shown to a person. A broken
// driver or library may crash the process, so cli/doctor/doctor-device.ts runs this in a process of
// its own and receives each fact as soon as it is known.
import { toAppError } from '../../base/errors.ts'
import { ARITHMETIC } from '../../kernels/arithmetic.ts'
import type { Variant } from '../../kernels/kernels.ts'
import { loadKernels } from '../../kernels/load.ts'
import { wantedVariant } from '../../kernels/wanted.ts'
import { createOnnx } from '../create-backend.ts'
import { MAX_ROWS } from '../kernel/kernel-context.ts'
import { errorRecord, type ErrorRecord } from '../messages.ts'
import { OrtRuntime } from '../ort/runtime.ts'
import type { Device } from '../types.ts'
import { cudaFacts, type CudaFacts } from './cuda.ts'
import { driverFacts, type DriverFacts } from './cuda-driver.ts'
import { cudaPlace, type Accelerator } from './provider.ts'
import { vulkanFacts, type VulkanFacts } from './webgpu.ts'

/** What is known of a device so far. */
export interface DeviceFacts {
  /** Of the CPU: the arithmetic's name, the instruction set, and why it is no better one. */
  readonly kernels?: {
    readonly arithmetic: string
    readonly variant: Variant
    /** PETALS_CPU, which allows no better one. */
    readonly wanted?: Variant | undefined
    /** Undefined: none. */
    readonly warning?: string | undefined
  }
  readonly library?: { readonly version: string; readonly buildInfo: string }
  readonly cuda?: CudaFacts
  readonly driver?: DriverFacts
  readonly vulkan?: VulkanFacts
  /** Whether it computed correctly, and for how many rows at once. */
  readonly engine?: { readonly rows: number } | { readonly fault: ErrorRecord }
}

export interface ExamineOptions {
  /** Folder with the kernels' libraries. Default: compiled from their sources. */
  kernelDir?: string | undefined
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
    if (device === 'cpu') {
      examineKernels(options.kernelDir, emit)
      return
    }
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

/** Loading them computes something whose bits are known. @throws AppError */
function examineKernels(folder: string | undefined, emit: (facts: DeviceFacts) => void): void {
  let warning: string | undefined
  const { variant } = loadKernels({ folder, onwarn: (text) => (warning ??= text) })
  emit({ kernels: { arithmetic: ARITHMETIC, variant, wanted: wantedVariant(), warning } })
  emit({ engine: { rows: MAX_ROWS } })
}

/** Runs an attention on the device and compares it with the CPU's. @throws AppError */
function rowsOf(device: Accelerator, options: ExamineOptions): number {
  const { libraryDir, cudaDir } = options
  return createOnnx({
    threads: 1,
    device,
    deviceId: 0,
    memoryBytes: 0,
    libraryDir,
    cudaDir,
    scratchDir: undefined
  }).chunkRows
}
