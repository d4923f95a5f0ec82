// A lock between processes, used for downloads, removals, installations and identities. It is the
// kernel's flock on a file, so it ends with its process, however that ends and in whatever
// container it runs. file-lock-words.ts is the fallback where flock does not work.
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  openSync,
  statSync,
  unlinkSync,
  writeSync
} from 'node:fs'
import { dirname, join } from 'node:path'
import { type Clock, sleep } from '../clock.ts'
import { unavailable } from '../errors.ts'
import { fileError } from './file-error.ts'
import { AT_ONCE, EXCLUSIVE, type Flock, systemFlock } from './flock.ts'
import { holderWords, tryWordLock } from './file-lock-words.ts'

export interface LockOptions {
  clock?: Clock
  signal?: AbortSignal | undefined
  /** Called once when somebody else holds it. */
  onwait?: () => void
  /** How often to look again. Default 250 ms. */
  pollMs?: number
  /**
   * Only for the fallback: a lock that was not refreshed for so long is abandoned. Default 60,000
   * ms.
   */
  staleMs?: number
}

/** Gives the lock back. */
export type Release = () => Promise<void>

/** How often others may remove the file between our opening and locking it before we give up. */
const MAX_TRIES = 1000

/** Errors of a folder or file system that is read-only. */
const READ_ONLY: ReadonlySet<string> = new Set(['EROFS', 'EACCES', 'EPERM'])

/** Whether flock works, by device, as this process found out. */
const lockable = new Map<number, boolean>()

/** Runs `work` while holding `path`. @throws AppError CANCELLED while waiting */
export async function withFileLock<T>(
  path: string,
  work: () => Promise<T>,
  options: LockOptions = {}
): Promise<T> {
  const { clock, signal, onwait, pollMs = 250 } = options
  let release = await tryFileLock(path, options)
  if (!release) onwait?.()
  while (!release) {
    await sleep(pollMs, { ...(clock ? { clock } : {}), ...(signal ? { signal } : {}) })
    release = await tryFileLock(path, options)
  }
  try {
    return await work()
  } finally {
    await release()
  }
}

/**
 * Takes `path` if nobody holds it: what gives it back, or undefined. The file is gone when it is
 * given back.
 * @throws AppError DENIED, NOT_FOUND or UNAVAILABLE when the file cannot be made
 */
export async function tryFileLock(
  path: string,
  options: Pick<LockOptions, 'clock' | 'staleMs'> = {}
): Promise<Release | undefined> {
  const flock = systemFlock()
  if (!flock || !hasLocks(dirname(path), flock)) return await tryWordLock(path, options)
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const opened = openLock(path)
    if (flock(opened.file, EXCLUSIVE | AT_ONCE) !== 0) {
      closeSync(opened.file)
      return undefined
    }
    if (isStillThere(opened)) return hold(opened)
    closeSync(opened.file)
  }
  throw unavailable(`'${path}' cannot be locked: it is removed again and again`)
}

/** What is locked: the file, or the folder that it would lie in when it cannot be made. */
interface Opened {
  readonly file: number
  readonly at: string
  readonly isWritable: boolean
}

function hold({ file, at, isWritable }: Opened): Release {
  try {
    // For people who look into the file; the program does not read it. A full disk has no room.
    const words = new TextEncoder().encode(holderWords())
    if (isWritable) ftruncateSync(file)
    if (isWritable) writeSync(file, words, 0, words.byteLength, 0)
  } catch {
    // The lock holds without it.
  }
  let held = true
  return async () => {
    if (!held) return
    held = false
    try {
      // The file is removed while it is still locked: another process that has it open notices that
      // it is gone from the folder.
      if (isWritable) unlinkSync(at)
    } catch {
      // Its folder was removed, or may not be written any more: the lock ends with the file all the
      // same.
    }
    closeSync(file)
  }
}

function openLock(path: string): Opened {
  try {
    return { file: openSync(path, 'a+', 0o600), at: path, isWritable: true }
  } catch (cause) {
    const opened = READ_ONLY.has(codeOf(cause)) ? openToRead(path) : undefined
    if (opened) return opened
    const what = `'${path}' cannot be made`
    if (codeOf(cause) === 'ENOENT') throw unavailable(`${what}: there is no such folder`, { cause })
    throw fileError(what, cause)
  }
}

/** Where nothing can be written, a lock must still keep two processes from using one identity. */
function openToRead(path: string): Opened | undefined {
  for (const at of [path, dirname(path)]) {
    try {
      return { file: openSync(at, 'r'), at, isWritable: false }
    } catch {
      // The folder is tried where there is no file; whoever may not even read it is told of the
      // file.
    }
  }
  return undefined
}

function codeOf(cause: unknown): string {
  return (cause as NodeJS.ErrnoException).code ?? ''
}

/** Whether the locked file is still the one at that path. */
function isStillThere({ file, at }: Opened): boolean {
  const there = statSync(at, { throwIfNoEntry: false })
  const { ino, dev } = fstatSync(file)
  return there?.ino === ino && there.dev === dev
}

/** Whether a file can be locked on a folder's disk; true where no file can be made. */
function hasLocks(folder: string, lock: Flock): boolean {
  const device = statSync(folder, { throwIfNoEntry: false })?.dev
  if (device === undefined) return true
  const known = lockable.get(device)
  if (known !== undefined) return known
  const probe = join(folder, `.${crypto.randomUUID()}.lock`)
  let file: number
  try {
    file = openSync(probe, 'wx', 0o600)
  } catch {
    return true
  }
  const isLockable = lock(file, EXCLUSIVE | AT_ONCE) === 0
  unlinkSync(probe)
  closeSync(file)
  lockable.set(device, isLockable)
  return isLockable
}
