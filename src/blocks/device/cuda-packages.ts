// What CUDA needs beside a driver, and the packages of a Python index that hold it, pinned: the
// engine's provider and NVIDIA's libraries. Knows names and versions; cli/doctor/install-cuda.ts
// fetches them. A folder of theirs is laid out as `pip install --target` does it.
import { join } from 'node:path'
import { internal } from '../../base/errors.ts'

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

interface Wheel {
  /** With its version. */
  readonly name: string
  /** SHA-256 of the wheel for Linux x64: what any index gives must be these bytes. */
  readonly sha256: string
}

/** onnxruntime's with its CUDA provider, and NVIDIA's of CUDA 13; cublas compiles by nvrtc. */
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

/** Measured: what pip fetches, and what it takes unpacked. */
export const CUDA_DOWNLOAD_BYTES: number = 829_000_000
export const CUDA_UNPACKED_BYTES: number = 1_220_000_000

const PLATFORMS = ['manylinux_2_28', 'manylinux_2_27', 'manylinux2014']

/**
 * A requirements file of all wheels with their hashes. @throws AppError INTERNAL for another
 * version
 */
export function pipRequirements(version: string): string {
  if (!WHEELS.some(({ name }) => name === `onnxruntime-gpu==${version}`)) {
    throw internal(`The wheel of onnxruntime-gpu ${version} has no pinned hash`)
  }
  return WHEELS.map(({ name, sha256 }) => `${name} --hash=sha256:${sha256}\n`).join('')
}

/** Arguments of pip that lay everything that `requirements` names into `folder`. */
export function pipArguments(folder: string, requirements: string): string[] {
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
    '--require-hashes',
    '--requirement',
    requirements
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
