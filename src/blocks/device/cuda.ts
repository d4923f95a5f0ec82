// Whether CUDA can be used, found out piece by piece before the engine tries: the engine's own message is
// "Failed to load shared library" whatever is missing. Knows files and libraries, no graphs.
// Everything is looked for in `cuda` below the library's folder, where one pip command puts it.
import { existsSync, readdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { unavailable, unsupported, type AppError } from '../../base/errors.ts'
import { openGlobally } from '../ort/libc.ts'

/** What is looked at, so that tests can say what there is. */
export interface CudaProbe {
  platform: string
  arch: string
  exists(path: string): boolean
  /** Names in a folder, none when it is not there. */
  list(folder: string): string[]
  /** Opens a library for later ones to link against; why not, or undefined. */
  open(path: string): string | undefined
  link(target: string, path: string): void
}

const DRIVER = 'libcuda.so.1'
const PROVIDERS = ['libonnxruntime_providers_shared.so', 'libonnxruntime_providers_cuda.so']
/** In the order in which they need each other. */
const LIBRARIES = ['libcudart.so.13', 'libcublasLt.so.13', 'libcublas.so.13', 'libcurand.so.10']

const systemProbe: CudaProbe = {
  platform: process.platform,
  arch: process.arch,
  exists: existsSync,
  list: (folder) => (existsSync(folder) ? readdirSync(folder) : []),
  open: openGlobally,
  link: symlinkSync
}

/**
 * Opens what the CUDA provider of `version` needs and lays it beside the library.
 * The provider itself is never opened here: outside of the engine it crashes.
 * @throws AppError UNAVAILABLE, UNSUPPORTED, with the next step to take as hint
 */
export function prepareCuda(
  libraryDir: string,
  version: string,
  probe: CudaProbe = systemProbe
): void {
  if (probe.platform !== 'linux' || probe.arch !== 'x64') {
    throw unsupported(
      `CUDA cannot be used: there is no build for ${probe.platform} ${probe.arch}`,
      {
        hint: 'Use --device webgpu'
      }
    )
  }
  const reason = probe.open(DRIVER)
  if (reason !== undefined) {
    throw unavailable(`CUDA cannot be used: the driver's ${DRIVER} cannot be opened (${reason})`, {
      hint: 'Install an NVIDIA driver for CUDA 13 (580 or newer), or use --device cpu'
    })
  }
  const folder = join(libraryDir, 'cuda')
  checkProvider(folder, version, probe)
  for (const library of LIBRARIES) {
    const path = findLibrary(folder, library, probe)
    const missing = probe.open(path)
    if (missing !== undefined) {
      throw unavailable(`CUDA cannot be used: ${library} cannot be opened (${missing})`, {
        hint: installHint(folder, version)
      })
    }
  }
  for (const provider of PROVIDERS) {
    const beside = join(libraryDir, provider)
    if (!probe.exists(beside)) probe.link(join(folder, 'onnxruntime', 'capi', provider), beside)
  }
}

function checkProvider(folder: string, version: string, probe: CudaProbe): void {
  const hint = installHint(folder, version)
  for (const provider of PROVIDERS) {
    const path = join(folder, 'onnxruntime', 'capi', provider)
    if (!probe.exists(path)) {
      throw unavailable(`CUDA cannot be used: '${path}' is not there`, { hint })
    }
  }
  // A provider of another version loads and fails with a message about something else.
  const found = probe
    .list(folder)
    .flatMap((name) => /^onnxruntime_gpu-(.+)\.dist-info$/.exec(name)?.[1] ?? [])
  if (!found.includes(version)) {
    const what = found.length === 0 ? 'of an unknown version' : found.join(', ')
    throw unavailable(`CUDA cannot be used: its provider is ${what}, and ${version} is needed`, {
      hint
    })
  }
}

/** Its wheel's place, or its bare name for the system to find. */
function findLibrary(folder: string, library: string, probe: CudaProbe): string {
  const wheels = join(folder, 'nvidia')
  for (const name of probe.list(wheels)) {
    const path = join(wheels, name, 'lib', library)
    if (probe.exists(path)) return path
  }
  return library
}

function installHint(folder: string, version: string): string {
  const platforms = ['manylinux_2_28', 'manylinux_2_27', 'manylinux2014'].map(
    (name) => `--platform ${name}_x86_64`
  )
  return (
    `Run: pip install --upgrade --target '${folder}' --no-deps --only-binary=:all: ` +
    `--python-version 3.12 --implementation cp ${platforms.join(' ')} ` +
    `onnxruntime-gpu==${version} 'nvidia-cublas<14' 'nvidia-cuda-runtime<14' ` +
    `'nvidia-curand<11' 'nvidia-cuda-nvrtc<14'`
  )
}

/** The engine's refusal in words: it names CUDA's failures by number only. */
export function cudaRefusal(cause: AppError): AppError {
  const known: readonly [RegExp, string, string][] = [
    [/CUDA failure 35\b/, 'the driver is too old', 'Install an NVIDIA driver of 580 or newer'],
    [/CUDA failure 100\b/, 'there is no GPU', 'Use --device cpu'],
    [/CUDA failure 101\b/, 'there is no GPU of this number', 'Choose another GPU'],
    [/CUDA failure 2\b/, "the GPU's memory is spent", 'Serve fewer blocks']
  ]
  for (const [pattern, what, hint] of known) {
    if (pattern.test(cause.message)) {
      return unavailable(`CUDA cannot be used: ${what}`, { hint, cause })
    }
  }
  return unavailable(`CUDA cannot be used: ${cause.message}`, { cause, hint: 'Use --device cpu' })
}
