// The few functions of the system's C library that onnxruntime needs: environment and libraries.
// Windows has only the environment here.
import { CString, dlopen, ptr, type Pointer } from 'bun:ffi'
import { unavailable } from '../../base/errors.ts'
import { openLibc } from '../../base/c-library.ts'

interface Libc {
  setenv(name: Pointer, value: Pointer, overwrite: number): number
  dlopen(path: Pointer, flags: number): Pointer | null
  dlerror(): Pointer | null
}

const RTLD_LAZY_GLOBAL = 0x101

let opened: Libc | undefined

function libc(): Libc {
  try {
    opened ??= openLibc<Libc>({
      setenv: { args: ['ptr', 'ptr', 'i32'], returns: 'i32' },
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
