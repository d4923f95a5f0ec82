// The kernel's lock on an open file, as file-lock.ts and in-use.ts use it. It ends with its
// process.
import { openLibc } from '../c-library.ts'

/** 0: done. */
export type Flock = (file: number, operation: number) => number

export const SHARED = 1
export const EXCLUSIVE = 2
/** Added to the others: fails instead of waiting. */
export const AT_ONCE = 4

let flock: Flock | undefined | null

/** Null on systems that have none. */
export function systemFlock(): Flock | null {
  if (flock === undefined) flock = open()
  return flock
}

function open(): Flock | null {
  if (process.platform === 'win32') return null
  try {
    const { flock: call } = openLibc<{ flock: Flock }>({
      flock: { args: ['i32', 'i32'], returns: 'i32' }
    })
    return call
  } catch {
    return null
  }
}
