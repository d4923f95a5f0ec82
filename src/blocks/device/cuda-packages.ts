// What CUDA needs beside a driver, and the packages of a Python index that hold it, pinned: the
// engine's provider and NVIDIA's libraries. Knows names and versions; cli/doctor/install-cuda.ts
// fetches them. A folder of theirs is laid out as `pip install --target` does it.
import { join } from 'node:path'

/** Files of the provider, which must lie beside onnxruntime's library. */
export const PROVIDERS: readonly string[] = [
  'libonnxruntime_providers_shared.so',
  'libonnxruntime_providers_cuda.so'
]

/** In the order in which they need each other. */
export const CUDA_LIBRARIES: readonly string[] = [
  'libcudart.so.13',
  'libcublasLt.so.13',
  'libcublas.so.13',
  'libcurand.so.10'
]

/** NVIDIA's packages of CUDA 13; nvrtc is what cublas compiles small kernels with. */
const NVIDIA_PACKAGES: readonly string[] = [
  'nvidia-cublas==13.10.0.20',
  'nvidia-cuda-runtime==13.5.37',
  'nvidia-curand==10.4.5.25',
  'nvidia-cuda-nvrtc==13.5.37'
]

/** Measured: what pip fetches, and what it takes unpacked. */
export const CUDA_DOWNLOAD_BYTES: number = 829_000_000
export const CUDA_UNPACKED_BYTES: number = 1_220_000_000

const PLATFORMS = ['manylinux_2_28', 'manylinux_2_27', 'manylinux2014']

/** Arguments of pip that lay everything for the library's `version` into `folder`. */
export function pipArguments(folder: string, version: string): string[] {
  return [
    'install',
    '--target',
    folder,
    '--no-deps',
    '--only-binary=:all:',
    '--no-input',
    '--no-compile',
    // The wheels' code never runs, so whatever Python pip itself has does not matter.
    '--python-version',
    '3.12',
    '--implementation',
    'cp',
    ...PLATFORMS.flatMap((name) => ['--platform', `${name}_x86_64`]),
    `onnxruntime-gpu==${version}`,
    ...NVIDIA_PACKAGES
  ]
}

/** Where the libraries for onnxruntime's `version` lie within the folder of all. */
export function cudaFolder(root: string, version: string): string {
  return join(root, version)
}

export function providerPath(folder: string, name: string): string {
  return join(folder, 'onnxruntime', 'capi', name)
}

/** Versions of the provider that names of a folder tell of. */
export function providerVersions(names: readonly string[]): string[] {
  return names.flatMap((name) => /^onnxruntime_gpu-(.+)\.dist-info$/.exec(name)?.[1] ?? [])
}
