// The few functions of the system's C library that we call ourselves: environment, memory maps,
// libraries. Knows nothing of onnxruntime. Windows has only the environment here.
import { CString, dlopen, ptr, type Pointer } from 'bun:ffi'
import { unavailable } from '../../base/errors.ts'
import { openLibc } from '../../base/c-library.ts'

interface Libc {
  setenv(name: Pointer, value: Pointer, overwrite: number): number
  mmap(
    at: Pointer | null,
    length: number,
    protection: number,
    flags: number,
    file: number,
    offset: number
  ): Pointer
  munmap(at: Pointer, length: number): number
  dlopen(path: Pointer, flags: number): Pointer | null
  dlerror(): Pointer | null
}

const PROT_READ = 1
const MAP_SHARED = 1
const RTLD_LAZY_GLOBAL = 0x101

let opened: Libc | undefined

function libc(): Libc {
  try {
    opened ??= openLibc<Libc>({
      setenv: { args: ['ptr', 'ptr', 'i32'], returns: 'i32' },
      mmap: { args: ['ptr', 'usize', 'i32', 'i32', 'i32', 'i64'], returns: 'ptr' },
      munmap: { args: ['ptr', 'usize'], returns: 'i32' },
      dlopen: { args: ['ptr', 'i32'], returns: 'ptr' },
      dlerror: { args: [], returns: 'ptr' }
    })
    return opened
  } catch (cause) {
    throw unavailable("The system's C library cannot be opened", { cause })
  }
}

/** A null-terminated string; keep it reachable while the library may read it. */
export function cstring(text: string): Uint8Array {
  return Buffer.from(`${text}\0`, 'utf8')
}

/** Sets an environment variable that C code sees: under Bun, `process.env` does not reach it. */
export function setNativeEnvironment(name: string, value: string): void {
  const [key, text] = [cstring(name), cstring(value)]
  if (process.platform !== 'win32') {
    libc().setenv(ptr(key), ptr(text), 1)
    return
  }
  const { symbols } = dlopen('ucrtbase.dll', {
    _putenv_s: { args: ['ptr', 'ptr'], returns: 'i32' }
  })
  symbols._putenv_s(ptr(key), ptr(text))
}

/** Whether files can be mapped here. */
export function canMap(): boolean {
  return process.platform !== 'win32'
}

/** Maps a file read-only. @throws AppError UNAVAILABLE */
export function mapFile(descriptor: number, sizeBytes: number): Pointer {
  const at = libc().mmap(null, sizeBytes, PROT_READ, MAP_SHARED, descriptor, 0)
  // MAP_FAILED is -1, which as a pointer is the largest there is.
  if (Number(at) === -1 || Number(at) > 2 ** 63) {
    throw unavailable(`A file of ${sizeBytes} bytes cannot be mapped`)
  }
  return at
}

export function unmap(at: Pointer, sizeBytes: number): void {
  libc().munmap(at, sizeBytes)
}

/**
 * Opens a library so that every later one can link against it. Returns why that failed, or
 * undefined.
 */
export function openGlobally(path: string): string | undefined {
  const name = cstring(path)
  if (libc().dlopen(ptr(name), RTLD_LAZY_GLOBAL) !== null) return undefined
  const reason = libc().dlerror()
  return reason === null ? 'no reason given' : new CString(reason).toString()
}
