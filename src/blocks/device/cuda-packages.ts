// What CUDA needs besides a driver, and the packages of the Python index that contain it, with
// pinned versions: the engine's provider and NVIDIA's libraries. Knows names and versions;
// cli/doctor/install-cuda.ts fetches them. The folder has the layout of `pip install --target`.
import { join } from 'node:path'
import { internal } from '../../base/errors.ts'

/** The provider's files, which must lie beside onnxruntime's library. */
export const PROVIDERS: readonly string[] = [
  'libonnxruntime_providers_shared.so',
  'libonnxruntime_providers_cuda.so'
]

/** In loading order: each needs those before it. */
export const CUDA_LIBRARIES: readonly string[] = [
  'libcudart.so.13',
  'libcublasLt.so.13',
  'libcublas.so.13',
  'libcurand.so.10'
]

interface Wheel {
  /** With its version. */
  readonly name: string
  /** SHA-256 of the wheel for Linux x64. Whatever index it comes from, it must have this hash. */
  readonly sha256: string
}

/**
 * onnxruntime with its CUDA provider, and NVIDIA's CUDA 13 libraries; cublas needs nvrtc to
 * compile.
 */
const WHEELS: readonly Wheel[] = [
  {
    name: 'onnxruntime-gpu==1.30.0',
    sha256: '6acc0f4b3d5ac5f2984432faa59dd8fcce6775f8b43a7140afa0f322c7a703b1'
  },
  {
    name: 'nvidia-cublas==13.10.0.20',
    sha256: 'dcc6d63884c53d07e267ce7e6feac17b2538cebaafec5db865736c3e28e4dc84'
  },
  {
    name: 'nvidia-cuda-runtime==13.5.37',
    sha256: 'df2b79a8852f10d1fef8c848489c49eebb5754051bf870202a862831412b179d'
  },
  {
    name: 'nvidia-curand==10.4.5.25',
    sha256: '22bb226a857e5888fe6b54ae465fc4371296bcff13a35f79e19691bcf454f529'
  },
  {
    name: 'nvidia-cuda-nvrtc==13.5.37',
    sha256: '86b4d68058807988b7d9af5b44917a0601e9c337f35ccd657bfb3c759ff8d8bc'
  }
]

/** Measured: bytes that pip downloads, and bytes on disk. */
export const CUDA_DOWNLOAD_BYTES: number = 829_000_000
export const CUDA_UNPACKED_BYTES: number = 1_220_000_000

const PLATFORMS = ['manylinux_2_28', 'manylinux_2_27', 'manylinux2014']

/**
 * A requirements file with all wheels and their hashes. @throws AppError INTERNAL for another
 * version
 */
export function pipRequirements(version: string): string {
  if (!WHEELS.some(({ name }) => name === `onnxruntime-gpu==${version}`)) {
    throw internal(`The wheel of onnxruntime-gpu ${version} has no pinned hash`)
  }
  return WHEELS.map(({ name, sha256 }) => `${name} --hash=sha256:${sha256}\n`).join('')
}

/** pip arguments that install everything in `requirements` into `folder`. */
export function pipArguments(folder: string, requirements: string): string[] {
  return [
    'install',
    '--target',
    folder,
    '--no-deps',
    '--only-binary=:all:',
    '--no-input',
    '--no-compile',
    // The wheels' Python code never runs, so the version of pip's own Python does not matter.
    '--python-version',
    '3.12',
    '--implementation',
    'cp',
    ...PLATFORMS.flatMap((name) => ['--platform', `${name}_x86_64`]),
    '--require-hashes',
    '--requirement',
    requirements
  ]
}

/** Folder of the libraries for onnxruntime's `version`, below the folder of all versions. */
export function cudaFolder(root: string, version: string): string {
  return join(root, version)
}

export function providerPath(folder: string, name: string): string {
  return join(folder, 'onnxruntime', 'capi', name)
}

/** Versions of the provider, by the names found in a folder. */
export function providerVersions(names: readonly string[]): string[] {
  return names.flatMap((name) => /^onnxruntime_gpu-(.+)\.dist-info$/.exec(name)?.[1] ?? [])
}
