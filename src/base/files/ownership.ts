// Whose files are: what is loaded as code must be the user's own, and what is secret for no one
// else's eyes. Knows that some file systems (FAT, network shares, mounts of virtual machines) keep
// no modes at all: a file there looks open whatever is done, and only who may use the mount
// decides.
import { closeSync, fstatSync, openSync, type Stats, statSync, unlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { denied } from '../errors.ts'

const OTHERS_WRITE = 0o002
const GROUP_WRITES = 0o020
const STICKY = 0o1000
const ROOT = 0

/** Who asks, as tests may have it otherwise. */
export interface Asker {
  readonly uid: number
  readonly gid: number
}

/**
 * `path` and every folder above it up to `top` belong to the user or to root, and nobody else may
 * change them.
 * @throws AppError DENIED
 */
export function checkOwned(
  what: string,
  path: string,
  top: string,
  asker: Asker | undefined = systemAsker()
): void {
  if (!asker) return
  for (let at = path; ; at = dirname(at)) {
    const found = statSync(at, { throwIfNoEntry: false })
    const why = found && strangerOf(found, asker)
    if (why !== undefined && keepsModes(dirname(path))) {
      throw denied(`${what} is not loaded from '${path}': ${why} may change '${at}'`, {
        hint: `Give it to yourself alone (chmod go-w '${at}'), or set PETALS_HOME to a folder of your own`
      })
    }
    if (at === top || dirname(at) === at) return
  }
}

/** Who else may change it, in words. */
function strangerOf(found: Stats, asker: Asker): string | undefined {
  const { uid, gid, mode } = found
  if (uid !== asker.uid && uid !== ROOT) return `the user with number ${uid}`
  // In a folder like /tmp everybody may write, and nobody may replace what is another's.
  if ((mode & OTHERS_WRITE) !== 0 && (mode & STICKY) === 0) return 'everybody'
  // Where each user has a group of their own, the group is the user.
  const isOwnGroup = gid === ROOT || (gid === asker.gid && gid === asker.uid)
  if ((mode & GROUP_WRITES) !== 0 && (mode & STICKY) === 0 && !isOwnGroup) {
    return `everybody of the group with number ${gid}`
  }
  return undefined
}

/** Undefined on Windows, whose folders of a user are the user's. */
function systemAsker(): Asker | undefined {
  const uid = process.geteuid?.()
  const gid = process.getegid?.()
  return uid === undefined || gid === undefined ? undefined : { uid, gid }
}

/**
 * Whether a file of this mode may be read or changed by others than its owner; never so on Windows.
 */
export function isOpenMode(mode: number): boolean {
  return process.platform !== 'win32' && (mode & 0o077) !== 0
}

/**
 * Whether the mode of a file says who may read it: where a fresh one cannot be closed, it does not.
 */
export function keepsModes(folder: string): boolean {
  const probe = join(folder, `.${crypto.randomUUID()}.mode`)
  let file: number
  try {
    file = openSync(probe, 'wx', 0o600)
  } catch {
    return true
  }
  try {
    return (fstatSync(file).mode & 0o077) === 0
  } finally {
    closeSync(file)
    unlinkSync(probe)
  }
}
