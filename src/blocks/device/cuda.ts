// Whether CUDA can be used, found out piece by piece before the engine tries: the engine's own
// message is "Failed to load shared library" whatever is missing. Knows files and libraries, no
// graphs.
// cuda-packages.ts says what lies in the folder, cuda-driver.ts asks the driver for its devices.
// Called by provider.ts, which stops at the first fault, and by examine.ts, which lists all of
// them.
import { existsSync, readdirSync, readlinkSync, renameSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { unavailable, unsupported, type AppError } from '../../base/errors.ts'
import { folderError } from '../../base/files/file-error.ts'
import { openGlobally } from '../ort/libc.ts'
import { CUDA_LIBRARIES, PROVIDERS, providerPath, providerVersions } from './cuda-packages.ts'

/** What is looked at, so that tests can say what there is. */
export interface CudaProbe {
  platform: string
  arch: string
  exists(path: string): boolean
  /** Names in a folder, none when it is not there. */
  list(folder: string): string[]
  /** Opens a library for later ones to link against; why not, or undefined. */
  open(path: string): string | undefined
  /** Where a link leads; undefined for what is none. */
  target(path: string): string | undefined
  /** Makes a link, in the place of one that is there. */
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
    // Another process may do the same now: a rename replaces at once.
    const aside = `${path}.${process.pid}.tmp`
    symlinkSync(target, aside)
    renameSync(aside, path)
  }
}

export interface CudaPlace {
  /** Where onnxruntime's library lies. */
  libraryDir: string
  /** Where CUDA's libraries and the provider lie; see cuda-packages.ts. */
  folder: string
  /** The library's version, which the provider must have too. */
  version: string
}

export interface LibraryFact {
  readonly name: string
  /** In its folder, or a bare name for the system to find. */
  readonly path: string
  /** Why it cannot be opened; undefined: it is open. */
  readonly reason?: string | undefined
}

/** What is here of CUDA, as plain data. */
export interface CudaFacts {
  readonly platform: string
  readonly arch: string
  readonly folder: string
  readonly version: string
  readonly driver?: LibraryFact
  /** Provider files that are not there. */
  readonly missing: readonly string[]
  /** Versions that the folder says it has of the provider. */
  readonly versions: readonly string[]
  /** In the order in which they need each other. */
  readonly libraries: readonly LibraryFact[]
}

/**
 * Looks at everything; the provider itself is never opened here: outside of the engine it crashes.
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
    openOne(name, findLibrary(folder, name, probe), probe)
  )
  return { ...about, driver, missing, versions: providerVersions(probe.list(folder)), libraries }
}

/** One thing that must be right, and what is wrong with it. */
export interface DevicePart {
  readonly name: string
  /** What was found, in words. */
  readonly found: string
  readonly fault?: AppError
}

/**
 * Everything that must be right, in the order to mend it in: the driver first, since without one
 * 0.8 GB of libraries help nobody.
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
 * Opens what the provider needs and lays it beside the library.
 * @throws AppError UNAVAILABLE, UNSUPPORTED, DENIED with the next step to take as hint
 */
export function prepareCuda(place: CudaPlace, probe: CudaProbe = systemProbe): void {
  const fault = cudaParts(cudaFacts(place, probe)).find((part) => part.fault)?.fault
  if (fault) throw fault
  for (const name of PROVIDERS) {
    const beside = join(place.libraryDir, name)
    const path = providerPath(place.folder, name)
    // A file that somebody has put there by hand stays.
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
  // A provider of another version loads and fails with a message about something else.
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
  // The system begins with the name, which every message has already.
  return { name, path, reason: reason?.replace(`${path}: `, '') }
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

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
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
  // Without the engine's source lines before it.
  const reason = cause.message.replace(/^.*\[ONNXRuntimeError\] : \d+ : \w+ : /s, '')
  return unavailable(`CUDA cannot be used: ${reason}`, { cause, hint: 'Use --device cpu' })
}
