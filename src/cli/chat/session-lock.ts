// One chat at a time on a --session file: two would overwrite each other's conversation.
import { access, constants, mkdir } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { inUse } from '../../base/errors.ts'
import { tryFileLock, type Release } from '../../base/files/file-lock.ts'
import { linkTarget } from '../../base/files/replace-file.ts'

/**
 * Locks the file for this process; returns the release.
 * @param what the file as messages call it
 * @param dataDir holds the lock if none can be made beside the file
 * @throws AppError IN_USE if another chat has it
 */
export async function lockSession(
  path: string,
  dataDir: string,
  what = `The conversation in '${path}'`
): Promise<Release> {
  const target = resolve(await linkTarget(path))
  const release = await tryFileLock(await lockPath(target, dataDir))
  if (release) return release
  throw inUse(`${what} is open in another chat`, {
    hint: 'End that one first, or name another file'
  })
}

/**
 * Beside the file, where other users and containers see it; otherwise in the user's data folder.
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
