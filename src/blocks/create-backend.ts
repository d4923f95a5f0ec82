// Creates a worker's backend from its options: our own kernels on CPUs, ONNX graphs on devices.
// Knows which device needs what.
import { Runner } from '../kernels/run.ts'
import { loadKernels } from '../kernels/load.ts'
import { deviceMemory } from './device/device-memory.ts'
import { DEVICE_MEMORY, deviceProvider } from './device/provider.ts'
import { trustedRows } from './device/self-check.ts'
import type { ComputeBackend } from './engine/loaded-span.ts'
import { kernelBackend } from './kernel/kernel-backend.ts'
import type { WorkerOptions } from './messages.ts'
import type { Backend } from './onnx/backend.ts'
import { cpuMemory } from './onnx/cpu-memory.ts'
import { onnxBackend } from './onnx/onnx-backend.ts'
import { OrtRuntime } from './ort/runtime.ts'
import type { WeightStoreOptions } from './weights/weight-store.ts'

/**
 * Rows of one run: 128 are as fast as more, need a quarter of the memory, and a stop takes effect
 * sooner.
 */
const CHUNK_ROWS = 128

/** `onwarn` is called with problems of the disk. @throws AppError UNAVAILABLE, UNSUPPORTED */
export function createBackend(
  options: WorkerOptions,
  onwarn: (text: string) => void = () => {}
): ComputeBackend {
  const { device, threads, kernelDir } = options
  if (device !== 'cpu') return onnxBackend(createOnnx(options, onwarn))
  const kernels = loadKernels({ folder: kernelDir, onwarn })
  return kernelBackend({
    kernels,
    runner: new Runner(kernels, threads),
    storeOptions: storeOptionsOf(options, onwarn)
  })
}

/** The backend of ONNX graphs: a device, or the library's own CPU kernels. */
export function createOnnx(
  options: WorkerOptions,
  onwarn: (text: string) => void = () => {}
): Backend {
  const { threads, device, deviceId, libraryDir, cudaDir } = options
  const runtime = new OrtRuntime(libraryDir)
  const storeOptions = storeOptionsOf(options, onwarn)
  if (device === 'cpu' || device === 'onnx-cpu') {
    const memory = cpuMemory(runtime)
    const settings = { threads }
    return { runtime, settings, storeOptions, chunkRows: CHUNK_ROWS, cacheMemory: () => memory }
  }
  const settings = { threads, provider: deviceProvider(runtime, device, { deviceId, cudaDir }) }
  const chunkRows = trustedRows(runtime, device, settings)
  const facts = { memory: DEVICE_MEMORY[device], id: deviceId, settings }
  return {
    runtime,
    settings,
    storeOptions,
    chunkRows,
    cacheMemory: (session) => deviceMemory(runtime, session, facts)
  }
}

function storeOptionsOf(
  { scratchDir, keep }: WorkerOptions,
  onwarn: (text: string) => void
): WeightStoreOptions {
  return {
    onwarn,
    ...(scratchDir === undefined ? {} : { folder: scratchDir }),
    ...(keep === undefined ? {} : { keep })
  }
}
