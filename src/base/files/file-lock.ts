// A lock between processes, the one mechanism for downloads, removals, installations and
// identities: the kernel's flock on a file, which ends with its process however that ends and in
// whatever container it runs. file-lock-words.ts is for file systems and systems that have none.
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
import { openLibc } from '../c-library.ts'
import { unavailable } from '../errors.ts'
import { fileError } from './file-error.ts'
import { holderWords, tryWordLock } from './file-lock-words.ts'

export interface LockOptions {
  clock?: Clock
  signal?: AbortSignal | undefined
  /** Called once when somebody else holds it. */
  onwait?: () => void
  /** How often to look again. Default 250 ms. */
  pollMs?: number
  /** Where the kernel has no lock: one whose time is older is abandoned. Default 60,000 ms. */
  staleMs?: number
}

/** Gives the lock back. */
export type Release = () => Promise<void>

type Flock = (file: number, operation: number) => number

const EXCLUSIVE = 2
const AT_ONCE = 4
/** Files that others remove between our opening and locking them; more is no chance any more. */
const MAX_TRIES = 1000

/** Refusals of a folder or file system that may only be read. */
const READ_ONLY: ReadonlySet<string> = new Set(['EROFS', 'EACCES', 'EPERM'])

/** By device, as this process found out. */
const lockable = new Map<number, boolean>()

let flock: Flock | undefined | null

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
  flock ??= openFlock()
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

/** What carries a lock: the file, or where it cannot be made the folder that it would lie in. */
interface Opened {
  readonly file: number
  readonly at: string
  readonly isWritable: boolean
}

function hold({ file, at, isWritable }: Opened): Release {
  try {
    // For people who look at it; nobody decides by it, and a full disk has no room for it.
    const words = new TextEncoder().encode(holderWords())
    if (isWritable) ftruncateSync(file)
    if (isWritable) writeSync(file, words, 0, words.byteLength, 0)
  } catch {
    // The lock holds without.
  }
  let held = true
  return async () => {
    if (!held) return
    held = false
    try {
      // Removed while it is held: whoever opened it before finds that it is not there any more.
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

/** Where nothing can be written a lock still keeps two processes from one identity. */
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

/** Whether what was locked is still what lies there. */
function isStillThere({ file, at }: Opened): boolean {
  const there = statSync(at, { throwIfNoEntry: false })
  const { ino, dev } = fstatSync(file)
  return there?.ino === ino && there.dev === dev
}

/** Whether a file of one's own can be locked on a folder's disk; true where none can be made. */
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

/** Null on systems that have none. */
function openFlock(): Flock | null {
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
