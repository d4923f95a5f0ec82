// One chat at a time on a --session file: two would each write their own conversation over the
// other's.
import { access, constants, mkdir } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { inUse } from '../../base/errors.ts'
import { tryFileLock, type Release } from '../../base/files/file-lock.ts'
import { linkTarget } from '../../base/files/replace-file.ts'

/**
 * Takes the file for this process; what gives it back.
 * @param dataDir holds the lock where none can be made beside the file
 * @throws AppError IN_USE when another chat has it
 */
export async function lockSession(path: string, dataDir: string): Promise<Release> {
  const target = resolve(await linkTarget(path))
  const release = await tryFileLock(await lockPath(target, dataDir))
  if (release) return release
  throw inUse(`The conversation in '${path}' is open in another chat`, {
    hint: 'End that one first, or name another file'
  })
}

/**
 * Beside the file, where other users and containers look too; else where this user keeps things.
 */
async function lockPath(target: string, dataDir: string): Promise<string> {
  const folder = dirname(target)
  const mayWrite = await access(folder, constants.W_OK).then(
    () => true,
    () => false
  )
  if (mayWrite) return join(folder, `.${basename(target)}.lock`)
  const own = join(dataDir, 'session-locks')
  await mkdir(own, { recursive: true, mode: 0o700 })
  return join(own, Bun.hash.xxHash3(target).toString(16))
}
