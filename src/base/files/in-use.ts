// Whether a process has a file open for long, as a server its weights: it marks the file by a
// shared lock of the kernel, which ends with it. Where there are no such locks nothing is known to
// be used.
import { closeSync, openSync } from 'node:fs'
import { AT_ONCE, EXCLUSIVE, SHARED, systemFlock } from './flock.ts'

/** Who looks holds the lock for as long as one call takes. */
const TRIES = 3

/** Marks an open file as used until it is closed. */
export function markInUse(file: number): void {
  const flock = systemFlock()
  if (!flock) return
  for (let tries = 0; tries < TRIES; tries++) {
    if (flock(file, SHARED | AT_ONCE) === 0) return
  }
}

/** Whether a process, this one too, has marked the file; false where that cannot be told. */
export function isInUse(path: string): boolean {
  const flock = systemFlock()
  if (!flock) return false
  let file: number
  try {
    file = openSync(path, 'r')
  } catch {
    return false
  }
  try {
    // A disk without locks refuses the shared one as well.
    return flock(file, SHARED | AT_ONCE) === 0 && flock(file, EXCLUSIVE | AT_ONCE) !== 0
  } finally {
    closeSync(file)
  }
}
