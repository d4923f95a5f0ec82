// Unpacks the native libraries of the executable, once, into a folder named by their content.
// Several processes may start at the same time: a file appears whole by a rename and is checked
// before use. Knows nothing of what the libraries do; base/embedded.ts lists them.
import {
  chmodSync,
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync
} from 'node:fs'
import { join } from 'node:path'
import { formatBytes } from '../bytes.ts'
import { type AppError, corrupt, unavailable } from '../errors.ts'
import { folderError } from './file-error.ts'
import { mapFile } from './map-file.ts'
import { checkOwned } from './ownership.ts'

export interface NativeFile {
  /** The name that the loader expects. */
  readonly name: string
  /** Where the executable holds its zstd frame. */
  readonly path: string
  /** Size when unpacked. */
  readonly sizeBytes: number
  /** `contentHash` of the unpacked bytes. */
  readonly hash: string
}

/** Libraries that must lie in one folder. */
export interface NativeSet {
  /** Names the folder; a hash over the files' names and contents. */
  readonly id: string
  readonly files: readonly NativeFile[]
}

/** A temporary file that is this much older than a fresh one belongs to a process that died. */
const STALE_MS = 600_000

/**
 * XXH3 as hex: finds damage at the disk's speed (45 MB: 2 ms, SHA-256: 26 ms). It is no guard
 * against somebody who can write to the folder: that nobody else can is checked before anything is
 * loaded.
 */
export function contentHash(bytes: Uint8Array): string {
  return Bun.hash.xxHash3(bytes).toString(16).padStart(16, '0')
}

/**
 * Makes sure that every file of the set lies whole below `cache`, and returns their folder.
 * @throws AppError DENIED when others may change them, DENIED or UNAVAILABLE when the folder cannot
 * be written, CORRUPT when the executable is damaged
 */
export function unpackNativeSet(set: NativeSet, cache: string): string {
  const folder = join(cache, 'lib', set.id)
  const missing = set.files.filter((file) => !isWhole(join(folder, file.name), file))
  if (missing.length > 0) unpackAll(missing, folder, set)
  for (const { name } of set.files) checkOwned(`'${name}'`, join(folder, name), cache)
  return folder
}

function unpackAll(missing: readonly NativeFile[], folder: string, set: NativeSet): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    for (const file of missing) unpackFile(file, folder)
    removeStale(folder)
  } catch (error) {
    const size = set.files.reduce((sum, file) => sum + file.sizeBytes, 0)
    throw folderError(`Native libraries cannot be unpacked to '${folder}'`, error, {
      hint: `Set PETALS_HOME to a folder that can be written, with ${formatBytes(size)} free`
    })
  }
}

/** The error for a library that is missing, or that is whole and still does not load. */
export function loadFailed(path: string, cause: unknown): AppError {
  if (!existsSync(path)) {
    return unavailable(`'${path}' cannot be loaded: there is no such file`, {
      hint: 'Install petals or its packages again (sh scripts/setup.sh in a source tree)',
      retryable: false,
      cause
    })
  }
  const words = cause instanceof Error ? cause.message : String(cause)
  // Loaders name the file, some of them twice.
  const reason = words.replace(/^Failed to open library "[^"]*": /, '').replace(`${path}: `, '')
  return unavailable(`'${path}' cannot be loaded: ${reason}`, {
    hint: loadHint(reason),
    retryable: false,
    cause
  })
}

/** What to do about a library that the system's loader (glibc's or musl's) refused. */
function loadHint(reason: string): string {
  const lacking =
    /(\S+\.so[.\d]*): cannot open shared object file/.exec(reason)?.[1] ??
    /Error loading shared library (\S+): No such file/.exec(reason)?.[1]
  if (lacking !== undefined) return `Install the package of this system that has '${lacking}'`
  const version = /version [`'](\w+_[\d.]+)' not found/.exec(reason)?.[1]
  if (version !== undefined) {
    return `The C library of this system is too old: '${version}' is needed, of a newer system`
  }
  if (/requires the JIT/.test(reason)) {
    return 'The runtime got no memory for code: lift the limit on address space (ulimit -v unlimited)'
  }
  if (/failed to map segment|Operation not permitted|Permission denied/.test(reason)) {
    return 'Its folder may be mounted noexec: set PETALS_HOME to one that is not'
  }
  return 'See whether the file fits this system: petals doctor'
}

function isWhole(path: string, file: NativeFile): boolean {
  let descriptor: number
  try {
    descriptor = openSync(path, 'r')
  } catch {
    return false
  }
  try {
    if (fstatSync(descriptor).size !== file.sizeBytes) return false
    const bytes = mapFile(descriptor, 0, file.sizeBytes) ?? readFileSync(descriptor)
    return contentHash(bytes) === file.hash
  } catch {
    return false
  } finally {
    closeSync(descriptor)
  }
}

function unpackFile(file: NativeFile, folder: string): void {
  const path = join(folder, file.name)
  const bytes = unpackBytes(file)
  const temporary = `${path}.${process.pid}-${crypto.randomUUID()}.tmp`
  try {
    writeFileSync(temporary, bytes, { mode: 0o755, flush: true })
    // The umask may have removed permissions.
    chmodSync(temporary, 0o755)
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    // Windows refuses to replace a library that another process has just unpacked and loaded.
    if (!isWhole(path, file)) throw error
  }
}

function unpackBytes(file: NativeFile): Uint8Array {
  const damaged = (state: string, cause?: unknown): AppError =>
    corrupt(`'${file.name}' cannot be unpacked from the executable: ${state}`, {
      hint: 'The executable is damaged: copy or download it again.',
      cause
    })
  let bytes: Uint8Array
  try {
    bytes = Bun.zstdDecompressSync(readFileSync(file.path))
  } catch (cause) {
    throw damaged('its bytes cannot be read', cause)
  }
  if (bytes.byteLength !== file.sizeBytes) throw damaged(`it has ${bytes.byteLength} bytes`)
  if (contentHash(bytes) !== file.hash) throw damaged('its hash differs')
  return bytes
}

/** Removes what processes that died left; ages are compared with the folder's own last change. */
function removeStale(folder: string): void {
  const now = statSync(folder).mtimeMs
  for (const name of readdirSync(folder)) {
    if (!name.endsWith('.tmp')) continue
    const path = join(folder, name)
    try {
      if (now - statSync(path).mtimeMs > STALE_MS) rmSync(path, { force: true })
    } catch {
      // Its owner has renamed or removed it in the meantime.
    }
  }
}
