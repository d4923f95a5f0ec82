// Finds out piece by piece whether CUDA can be used, before the engine tries: the engine's own
// message is "Failed to load shared library" whatever is missing. Knows files and libraries, no
// graphs. cuda-packages.ts says what the folder contains, cuda-driver.ts asks the driver for
// devices. Called by provider.ts, which stops at the first fault, and by examine.ts, which lists
// all of them.
import { existsSync, readdirSync, readlinkSync, renameSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { toAppError, unavailable, unsupported, type AppError } from '../../base/errors.ts'
import { folderError } from '../../base/files/file-error.ts'
import { checkOwned } from '../../base/files/ownership.ts'
import { openGlobally } from '../ort/libc.ts'
import { CUDA_LIBRARIES, PROVIDERS, providerPath, providerVersions } from './cuda-packages.ts'

/** Access to the system, replaced in tests. */
export interface CudaProbe {
  platform: string
  arch: string
  exists(path: string): boolean
  /** Names in a folder; none if it does not exist. */
  list(folder: string): string[]
  /**
   * Opens a library so that later ones can link against it. Returns why that failed, or undefined.
   */
  open(path: string): string | undefined
  /** Target of a link; undefined if it is none. */
  target(path: string): string | undefined
  /** Creates a link and replaces an existing one. */
  link(target: string, path: string): void
}

export const DRIVER = 'libcuda.so.1'

const systemProbe: CudaProbe = {
  platform: process.platform,
  arch: process.arch,
  exists: existsSync,
  list: (folder) => (existsSync(folder) ? readdirSync(folder) : []),
  open: openGlobally,
  target: linkTarget,
  link(target, path) {
    // Another process may do the same at this moment: a rename replaces atomically.
    const aside = `${path}.${process.pid}.tmp`
    symlinkSync(target, aside)
    renameSync(aside, path)
  }
}

export interface CudaPlace {
  /** Folder of onnxruntime's library. */
  libraryDir: string
  /** Folder of CUDA's libraries and the provider; see cuda-packages.ts. */
  folder: string
  /** The library's version; the provider must have the same. */
  version: string
}

export interface LibraryFact {
  readonly name: string
  /** Path in its folder, or a bare name that the system resolves. */
  readonly path: string
  /** Why it cannot be opened; undefined if it is open. */
  readonly reason?: string | undefined
}

/** The state of CUDA on this machine, as plain data. */
export interface CudaFacts {
  readonly platform: string
  readonly arch: string
  readonly folder: string
  readonly version: string
  readonly driver?: LibraryFact
  /** Files of the provider that are missing. */
  readonly missing: readonly string[]
  /** Versions of the provider that the folder has, by its metadata. */
  readonly versions: readonly string[]
  /** In loading order. */
  readonly libraries: readonly LibraryFact[]
}

/**
 * Looks at everything except the provider itself, which crashes if it is opened outside the engine.
 */
export function cudaFacts(place: CudaPlace, probe: CudaProbe = systemProbe): CudaFacts {
  const { folder, version } = place
  const { platform, arch } = probe
  const about = { platform, arch, folder, version }
  if (!isBuiltFor(about)) return { ...about, missing: [], versions: [], libraries: [] }
  const driver = openOne(DRIVER, DRIVER, probe)
  const missing = PROVIDERS.map((name) => providerPath(folder, name)).filter(
    (path) => !probe.exists(path)
  )
  const libraries = CUDA_LIBRARIES.map((name) =>
    openOwn(name, findLibrary(folder, name, probe), { folder, probe })
  )
  return { ...about, driver, missing, versions: providerVersions(probe.list(folder)), libraries }
}

/** One requirement, and what is wrong with it. */
export interface DevicePart {
  readonly name: string
  /** What was found, in words. */
  readonly found: string
  readonly fault?: AppError
}

/**
 * All requirements in the order in which to fix them: the driver first, since without one the 0.8
 * GB of libraries are no use.
 */
export function cudaParts(facts: CudaFacts): DevicePart[] {
  const { platform, arch, driver, libraries } = facts
  if (!isBuiltFor(facts)) {
    const fault = unsupported(`CUDA cannot be used: there is no build for ${platform} ${arch}`, {
      hint: 'Use --device webgpu'
    })
    return [{ name: 'build', found: `none for ${platform} ${arch}`, fault }]
  }
  return [
    ...(driver ? [driverPart(driver)] : []),
    providerPart(facts),
    ...libraries.map((library) => libraryPart(library))
  ]
}

/**
 * Opens what the provider needs and links it beside onnxruntime's library.
 * @throws AppError UNAVAILABLE, UNSUPPORTED, DENIED with the next step to take as hint
 */
export function prepareCuda(place: CudaPlace, probe: CudaProbe = systemProbe): void {
  const fault = cudaParts(cudaFacts(place, probe)).find((part) => part.fault)?.fault
  if (fault) throw fault
  for (const name of PROVIDERS) {
    const beside = join(place.libraryDir, name)
    const path = providerPath(place.folder, name)
    checkOwned(`'${name}'`, path, dirname(place.folder))
    // A file that somebody put there by hand stays.
    if (probe.target(beside) === path || (probe.exists(beside) && !probe.target(beside))) continue
    try {
      probe.link(path, beside)
    } catch (cause) {
      throw folderError(`The CUDA provider cannot be laid in '${place.libraryDir}'`, cause, {
        hint: 'Set PETALS_HOME to a folder that can be written'
      })
    }
  }
}

function isBuiltFor({ platform, arch }: Pick<CudaFacts, 'platform' | 'arch'>): boolean {
  return platform === 'linux' && arch === 'x64'
}

function driverPart({ name, reason }: LibraryFact): DevicePart {
  if (reason === undefined) return { name, found: 'opens' }
  const found = `cannot be opened (${reason})`
  const fault = unavailable(`CUDA cannot be used: the driver's ${name} ${found}`, {
    hint: 'Install an NVIDIA driver for CUDA 13 (580 or newer), or use --device cpu'
  })
  return { name, found, fault }
}

function providerPart({ folder, missing, versions, version }: CudaFacts): DevicePart {
  const name = 'CUDA provider'
  const broken = (found: string, message: string): DevicePart => ({
    name,
    found,
    fault: unavailable(`CUDA cannot be used: ${message}`, { hint: INSTALL_HINT })
  })
  const [first] = missing
  if (first !== undefined) return broken(`not in '${folder}'`, `'${first}' is not there`)
  // A provider of another version loads, then fails with a misleading message.
  if (versions.includes(version)) return { name, found: `${version} in '${folder}'` }
  const what = versions.length === 0 ? 'of an unknown version' : versions.join(', ')
  return broken(
    `${what}, and ${version} is needed`,
    `its provider is ${what}, and ${version} is needed`
  )
}

function libraryPart({ name, path, reason }: LibraryFact): DevicePart {
  if (reason === undefined) return { name, found: path === name ? 'opens' : `opens from '${path}'` }
  const found = `cannot be opened (${reason})`
  const fault = unavailable(`CUDA cannot be used: ${name} ${found}`, { hint: INSTALL_HINT })
  return { name, found, fault }
}

const INSTALL_HINT = 'Run petals doctor --install-cuda'

function openOne(name: string, path: string, probe: CudaProbe): LibraryFact {
  const reason = probe.open(path)
  // The system's message begins with the name, which our message has already.
  return { name, path, reason: reason?.replace(`${path}: `, '') }
}

/** A library of the folder must be the user's own, since it is loaded as code. */
function openOwn(
  name: string,
  path: string,
  { folder, probe }: { folder: string; probe: CudaProbe }
): LibraryFact {
  if (path === name) return openOne(name, path, probe)
  try {
    checkOwned(`'${name}'`, path, dirname(folder))
  } catch (error) {
    return { name, path, reason: toAppError(error).message }
  }
  return openOne(name, path, probe)
}

/** Its path in the wheel's folder, or its bare name, which the system resolves. */
function findLibrary(folder: string, library: string, probe: CudaProbe): string {
  const wheels = join(folder, 'nvidia')
  for (const name of probe.list(wheels)) {
    const path = join(wheels, name, 'lib', library)
    if (probe.exists(path)) return path
  }
  return library
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}

/** The engine's refusal in words; the engine names CUDA's failures by number only. */
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
  // Without the engine's source lines before it.
  const reason = cause.message.replace(/^.*\[ONNXRuntimeError\] : \d+ : \w+ : /s, '')
  return unavailable(`CUDA cannot be used: ${reason}`, { cause, hint: 'Use --device cpu' })
}
