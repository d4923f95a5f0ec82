// onnxruntime's library in this process: loading, the function table, status handling, the
// environment. Knows no graphs and no models; value.ts and session.ts build on it.
import { CFunction, CString, dlopen, read, type Pointer } from 'bun:ffi'
import { join } from 'node:path'
import { type AppError, computeError, unsupported } from '../../base/errors.ts'
import { loadFailed } from '../../base/files/native-files.ts'
import { cstring, setNativeEnvironment } from './libc.ts'
import { ortLibraryName, ortPackageDir } from './library.ts'
import { ORT_TABLE, type OrtFunctionName } from './table.ts'

/** The version of the C API that the table follows. A library must offer at least this one. */
const API_VERSION = 23
const MAJOR = '1'
const LOG_WARNING = 2
const LOG_FATAL = 4

export type CArg = Pointer | ArrayBufferView | number | bigint | null
type CFunctionLike = (...args: CArg[]) => unknown

/** The library and its environment. Each thread has one; the process maps the library once. */
export class OrtRuntime implements Disposable {
  /** The library's description of itself, e.g. 'ORT Build Info: git-branch=...'. */
  readonly buildInfo: string
  readonly directory: string
  /** The library's version, e.g. '1.30.0'. */
  readonly version: string
  readonly #functions: ReadonlyMap<OrtFunctionName, CFunctionLike>
  #env: Pointer | undefined
  #cpuMemory: Pointer | undefined

  /**
   * Loads the library from `directory` (default: the onnxruntime-node package).
   * @throws AppError UNAVAILABLE, UNSUPPORTED
   */
  constructor(directory: string = ortPackageDir()) {
    this.directory = directory
    setNativeEnvironment('ORT_DISABLE_TELEMETRY', '1')
    const path = join(directory, ortLibraryName())
    const api = openApi(path)
    this.#functions = bindTable(api)
    this.buildInfo = String(this.#call('GetBuildInfoString', []))
    this.version = apiVersionText(path)
    if (this.version.split('.')[0] !== MAJOR) {
      throw unsupported(`onnxruntime ${this.version} cannot be used: version ${MAJOR} is needed`)
    }
  }

  get env(): Pointer {
    if (this.#env === undefined) {
      // The library writes warnings to stderr past our log, so only fatal errors are let through.
      this.#env = this.make('CreateEnv', LOG_FATAL, cstring('petals'))
      this.run('DisableTelemetryEvents', this.#env)
    }
    return this.#env
  }

  /** Memory info for tensors in this process's memory. */
  get cpuMemory(): Pointer {
    this.#cpuMemory ??= this.make('CreateCpuMemoryInfo', 0, 0)
    return this.#cpuMemory
  }

  /** Calls a function that returns a status. @throws AppError COMPUTE */
  run(name: OrtFunctionName, ...args: CArg[]): void {
    const status = this.#call(name, args) as Pointer | null
    if (status !== null) throw this.#failure(name, status)
  }

  /** Calls a function whose last argument receives a pointer. @throws AppError COMPUTE */
  make(name: OrtFunctionName, ...args: CArg[]): Pointer {
    const out = new BigUint64Array(1)
    this.run(name, ...args, out)
    return Number(out[0]) as Pointer
  }

  /** Calls a release function. */
  release(name: OrtFunctionName, handle: Pointer): void {
    this.#call(name, [handle])
  }

  [Symbol.dispose](): void {
    if (this.#cpuMemory !== undefined) this.release('ReleaseMemoryInfo', this.#cpuMemory)
    this.#cpuMemory = undefined
    if (this.#env !== undefined) this.release('ReleaseEnv', this.#env)
    this.#env = undefined
  }

  #call(name: OrtFunctionName, args: CArg[]): unknown {
    const call = this.#functions.get(name)
    if (call === undefined) throw new TypeError(`'${name}' is not in the table`)
    return call(...args)
  }

  #failure(name: OrtFunctionName, status: Pointer): AppError {
    const message = String(this.#call('GetErrorMessage', [status]))
    this.release('ReleaseStatus', status)
    return computeError(`onnxruntime's ${name} failed: ${message}`)
  }
}

/** A path in the library's encoding: UTF-16 on Windows, UTF-8 elsewhere. */
export function pathString(path: string): Uint8Array {
  return process.platform === 'win32' ? Buffer.from(`${path}\0`, 'utf16le') : cstring(path)
}

function openBase(path: string): Pointer {
  try {
    const { symbols } = dlopen(path, { OrtGetApiBase: { args: [], returns: 'ptr' } })
    return symbols.OrtGetApiBase() as Pointer
  } catch (cause) {
    throw loadFailed(path, cause)
  }
}

function openApi(path: string): Pointer {
  const getApi = CFunction({
    ptr: read.ptr(openBase(path), 0) as Pointer,
    args: ['u32'],
    returns: 'ptr'
  })
  const api = getApi(API_VERSION) as Pointer | null
  if (api === null) {
    throw unsupported(
      `onnxruntime at '${path}' cannot be used: it is older than API version ${API_VERSION}`
    )
  }
  return api
}

function apiVersionText(path: string): string {
  const getVersion = CFunction({
    ptr: read.ptr(openBase(path), 8) as Pointer,
    args: [],
    returns: 'ptr'
  })
  return new CString(getVersion() as Pointer).toString()
}

function bindTable(api: Pointer): ReadonlyMap<OrtFunctionName, CFunctionLike> {
  const functions = new Map<OrtFunctionName, CFunctionLike>()
  for (const [name, { index, args, returns = 'ptr' }] of Object.entries(ORT_TABLE)) {
    const address = read.ptr(api, index * 8) as Pointer
    functions.set(
      name as OrtFunctionName,
      CFunction({ ptr: address, args: [...args], returns }) as unknown as CFunctionLike
    )
  }
  return functions
}

export const ORT_LOG_LEVEL: { readonly warning: number; readonly fatal: number } = {
  warning: LOG_WARNING,
  fatal: LOG_FATAL
}
