// `petals doctor --install-cuda`: downloads the engine's CUDA provider and NVIDIA's libraries
// through pip into the data folder, where blocks/device/cuda.ts looks. A folder appears complete or
// not at all.
import { mkdir, mkdtemp, readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { formatBytes } from '../../base/bytes.ts'
import { corrupt, inUse, unavailable, unsupported } from '../../base/errors.ts'
import { folderError } from '../../base/files/file-error.ts'
import type { Log } from '../../base/log.ts'
import {
  CUDA_DOWNLOAD_BYTES,
  CUDA_LIBRARIES,
  CUDA_UNPACKED_BYTES,
  cudaFolder,
  pipArguments,
  pipRequirements,
  PROVIDERS,
  providerPath,
  providerVersions
} from '../../blocks/device/cuda-packages.ts'
import { systemFreeBytes } from '../../model/hub/download.ts'
import { tryFileLock } from '../../base/files/file-lock.ts'
import { SPARE_BYTES } from '../../model/hub/http.ts'
import { runPip } from '../../model/hub/pip.ts'

export interface InstallOptions {
  /** Folder of all versions. */
  root: string
  /** onnxruntime's version; the provider must have the same. */
  version: string
  log: Log
  signal?: AbortSignal
  /** Called regularly with the size of the folder so far. */
  onbytes?: (bytes: number) => void
  platform?: string
  arch?: string
  /** Ways to call pip; see model/hub/pip.ts. */
  commands?: readonly (readonly string[])[]
  freeBytes?: (folder: string) => Promise<number>
}

/** On a slow line, 0.8 GB take long. */
const PIP_MS = 3 * 3_600_000
const LOOK_MS = 1_000
const BEGUN = '.begun-'
/**
 * pip's own cache, kept until an installation has succeeded: complete wheels are not downloaded
 * twice.
 */
const WHEELS = '.wheels'

/** @throws AppError UNSUPPORTED, UNAVAILABLE, DENIED, IN_USE, CORRUPT, CANCELLED */
export async function installCuda(options: InstallOptions): Promise<void> {
  const { root, version, log, platform = process.platform, arch = process.arch } = options
  if (platform !== 'linux' || arch !== 'x64') {
    throw unsupported(`CUDA cannot be installed: there is no build for ${platform} ${arch}`, {
      hint: 'Use --device webgpu, which needs nothing more than a graphics driver'
    })
  }
  const folder = cudaFolder(root, version)
  await mkdir(root, { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
    throw folderError(`CUDA cannot be installed in '${root}'`, cause, {
      hint: 'Set PETALS_HOME to a folder that can be written'
    })
  })
  const release = await tryFileLock(join(root, 'lock'))
  if (!release) throw inUse('CUDA cannot be installed: another petals installs it now')
  try {
    if ((await missingOf(folder, version)) === undefined) {
      log.info(`CUDA's libraries for onnxruntime ${version} are in '${folder}' already`)
      return
    }
    await install(folder, options)
    log.info(`CUDA's libraries for onnxruntime ${version} are in '${folder}'`)
  } finally {
    await release()
  }
}

async function install(folder: string, options: InstallOptions): Promise<void> {
  const { root, version, log, signal, commands, onbytes = () => {} } = options
  // Left by an installation that was killed.
  for (const name of await readdir(root)) {
    if (name.startsWith(BEGUN)) await rm(join(root, name), { recursive: true, force: true })
  }
  await checkRoom(root, options)
  const begun = await mkdtemp(join(root, BEGUN))
  const temporary = join(begun, 'tmp')
  const made = join(begun, 'made')
  await mkdir(temporary)
  log.info(`fetching ${formatBytes(CUDA_DOWNLOAD_BYTES)} through pip into '${root}'`)
  const looking = setInterval(() => void bytesBelow(begun).then(onbytes), LOOK_MS)
  try {
    const requirements = join(temporary, 'requirements.txt')
    await writeFile(requirements, pipRequirements(version))
    const cache = ['--cache-dir', join(root, WHEELS), '--disable-pip-version-check', '--quiet']
    await runPip([...pipArguments(made, requirements), ...cache], {
      what: "CUDA's libraries",
      temporary,
      timeoutMs: PIP_MS,
      signal,
      ...(commands ? { commands } : {})
    })
    const missing = await missingOf(made, version)
    if (missing !== undefined) {
      throw corrupt(`CUDA cannot be installed: pip brought no ${missing}`, {
        hint: 'Look at the package index that pip is set to'
      })
    }
    await rm(folder, { recursive: true, force: true })
    await rename(made, folder)
    await rm(join(root, WHEELS), { recursive: true, force: true })
  } finally {
    clearInterval(looking)
    await rm(begun, { recursive: true, force: true })
  }
}

/** While wheels are unpacked they exist twice: as downloaded, and in pip's cache. */
async function checkRoom(
  root: string,
  { freeBytes = systemFreeBytes }: InstallOptions
): Promise<void> {
  const needed = 2 * CUDA_DOWNLOAD_BYTES + CUDA_UNPACKED_BYTES + SPARE_BYTES
  const free = await freeBytes(root)
  if (free >= needed) return
  throw unavailable(
    `CUDA cannot be installed in '${root}': ${formatBytes(needed)} are needed for a while, ` +
      `${formatBytes(free)} are free`,
    { hint: 'Free some room, or set PETALS_HOME to a larger disk', retryable: false }
  )
}

/** What a folder lacks; undefined if nothing. */
async function missingOf(folder: string, version: string): Promise<string | undefined> {
  for (const name of PROVIDERS) {
    if (!(await isFile(providerPath(folder, name)))) return name
  }
  const versions = providerVersions(await readdir(folder))
  if (!versions.includes(version)) {
    return `provider of version ${version}, but of ${versions.join(', ') || 'an unknown one'}`
  }
  const wheels = join(folder, 'nvidia')
  const folders = (await readdir(wheels).catch(() => [])).map((name) => join(wheels, name, 'lib'))
  for (const name of CUDA_LIBRARIES) {
    const found = await Promise.all(folders.map((lib) => isFile(join(lib, name))))
    if (!found.includes(true)) return name
  }
  return undefined
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false
  )
}

async function bytesBelow(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
  const files = entries.filter((entry) => entry.isFile())
  const sizes = await Promise.all(
    files.map(({ parentPath, name }) =>
      stat(join(parentPath, name)).then(
        ({ size }) => size,
        () => 0
      )
    )
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}
