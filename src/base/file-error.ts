// What the file system refused, as an error with an honest code: permission is not a broken disk.
// Knows nothing of what the files are for.
import { AppError, denied, notFound, unavailable, type AppErrorOptions } from './errors.ts'

const FORBIDDEN: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EROFS'])
const MISSING: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR'])

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOENT: 'there is no such folder',
  ENOTDIR: 'a file stands where a folder should',
  EISDIR: 'it is a folder',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the quota of the disk is spent'
}

/** Why a call of the file system failed, in words. */
export function fileReason(cause: unknown): string {
  const { code, message } = cause as NodeJS.ErrnoException
  return REASONS[code ?? ''] ?? code ?? message ?? String(cause)
}

/**
 * DENIED where it is forbidden, NOT_FOUND where the folder is missing, else UNAVAILABLE; an AppError
 * stays as it is. `what` is what could not be done.
 */
export function fileError(what: string, cause: unknown, options: AppErrorOptions = {}): AppError {
  if (cause instanceof AppError) return cause
  const { code = '' } = cause as NodeJS.ErrnoException
  const make = FORBIDDEN.has(code) ? denied : MISSING.has(code) ? notFound : unavailable
  return make(`${what}: ${fileReason(cause)}`, { retryable: false, cause, ...options })
}
