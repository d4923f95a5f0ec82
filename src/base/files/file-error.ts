// Turns an error of the file system into an AppError with the right code: a missing permission is
// not a broken disk. Knows nothing of what the files are for.
import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { AppError, denied, notFound, unavailable, type AppErrorOptions } from '../errors.ts'

const FORBIDDEN: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EROFS'])
const MISSING: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR'])

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOTDIR: 'a file stands where a folder should',
  EEXIST: 'a file stands where a folder should',
  EISDIR: 'it is a folder',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the quota of the disk is spent'
}

/** Calls that are about a folder: what they miss is one. */
const OF_FOLDERS: ReadonlySet<string> = new Set(['mkdir', 'mkdtemp', 'scandir', 'opendir'])

/** Why a call of the file system failed, for people. */
export function fileReason(cause: unknown): string {
  const { code, message } = cause as NodeJS.ErrnoException
  if (code === 'ENOENT') return missing(cause as NodeJS.ErrnoException)
  return REASONS[codeOf(cause)] ?? code ?? message ?? String(cause)
}

/** The file itself, or the folder that it should be in. */
function missing({ path, dest, syscall = '' }: NodeJS.ErrnoException & { dest?: string }): string {
  const place = dest ?? path
  if (place === undefined) return 'it is not there'
  const isFolder = OF_FOLDERS.has(syscall) || !existsSync(dirname(place))
  return isFolder ? 'there is no such folder' : 'there is no such file'
}

/**
 * DENIED where it is forbidden, NOT_FOUND where the file or its folder is missing, else
 * UNAVAILABLE; an error of ours stays as it is. `what` is what could not be done.
 */
export function fileError(what: string, cause: unknown, options: AppErrorOptions = {}): AppError {
  if (cause instanceof AppError) return cause
  const code = codeOf(cause)
  const make = FORBIDDEN.has(code) ? denied : MISSING.has(code) ? notFound : unavailable
  return make(`${what}: ${fileReason(cause)}`, { retryable: false, cause, ...options })
}

/**
 * The same of a folder of our own, which is made when it is missing: that nothing can be kept there
 * is for whoever chose it to mend, whatever the reason. DENIED, but UNAVAILABLE for a full or
 * broken disk.
 */
export function folderError(what: string, cause: unknown, options: AppErrorOptions = {}): AppError {
  const error = fileError(what, cause, options)
  const isOurs = MISSING.has(codeOf(cause)) || codeOf(cause) === 'EEXIST'
  return isOurs ? denied(error.message, { retryable: false, cause, ...options }) : error
}

function codeOf(cause: unknown): string {
  return (cause as NodeJS.ErrnoException).code ?? ''
}
