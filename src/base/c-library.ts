// Opens functions of the system's C library. The caller says which functions and their types.
import { dlopen, type FFIFunction } from 'bun:ffi'

/** Names to try, the likeliest first. */
function names(): string[] {
  if (process.platform === 'darwin') return ['libSystem.B.dylib']
  const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64'
  return ['libc.so.6', `libc.musl-${machine}.so.1`, 'libc.so']
}

/** The functions that T declares. @throws Error for the last name tried */
export function openLibc<T>(functions: Record<string, FFIFunction>): T {
  let failure: unknown
  for (const name of names()) {
    try {
      return dlopen(name, functions).symbols as unknown as T
    } catch (error) {
      failure = error
    }
  }
  throw failure
}
