// A file written whole: what was there stays until the new content is complete. A link is followed,
// a mode is kept, and where a file cannot be replaced (a bind mount, a folder that may not be
// written) it is written in place. Knows nothing of what is in it.
import { constants } from 'node:fs'
import { type FileHandle, lstat, open, readlink, rename, stat, unlink } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'

export interface ReplaceOptions {
  /** Of a file that is not there yet. Default 0o600. */
  mode?: number
}

/** As many links as Linux follows. */
const MOST_LINKS = 40
/** Where nothing may be made beside the file, or it may not be exchanged. */
const IN_PLACE: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EROFS', 'EBUSY', 'EXDEV'])
const NO_FOLLOW = process.platform === 'win32' ? 0 : constants.O_NOFOLLOW

/** Writes `content` as all of `path`. @throws what the file system says */
export async function replaceFile(
  path: string,
  content: string | Uint8Array,
  options: ReplaceOptions = {}
): Promise<void> {
  const target = await linkTarget(path)
  const there = await stat(target).catch(() => undefined)
  // A name that nobody foresees, made by us and by nobody before us.
  const aside = `${target}.${crypto.randomUUID()}.tmp`
  const mode = there ? there.mode & 0o7777 : (options.mode ?? 0o600)
  try {
    await writeAside(aside, content, mode)
    await rename(aside, target)
  } catch (error) {
    await unlink(aside).catch(() => {})
    if (!there || !IN_PLACE.has(codeOf(error))) throw error
    await writeInPlace(target, content)
  }
}

/**
 * Refuses, by what the file system says, a path that replaceFile() could not write; leaves nothing
 * behind.
 */
export async function requireReplaceable(path: string): Promise<void> {
  const target = await linkTarget(path)
  const aside = `${target}.${crypto.randomUUID()}.tmp`
  try {
    await writeAside(aside, '', 0o600)
    await unlink(aside)
  } catch (error) {
    const isThere = await stat(target).then(
      () => true,
      () => false
    )
    if (!isThere || !IN_PLACE.has(codeOf(error))) throw error
    await (await open(target, constants.O_RDWR | NO_FOLLOW)).close()
  }
}

/** Where a path leads through links, of which the last may lead to nothing yet. */
export async function linkTarget(path: string): Promise<string> {
  let target = path
  for (let links = 0; links < MOST_LINKS; links++) {
    const found = await lstat(target).catch(() => undefined)
    if (!found?.isSymbolicLink()) return target
    target = resolve(dirname(target), await readlink(target))
  }
  throw Object.assign(new Error(`ELOOP: too many links, '${path}'`), { code: 'ELOOP', path })
}

async function writeAside(
  aside: string,
  content: string | Uint8Array,
  mode: number
): Promise<void> {
  const file = await open(aside, 'wx', 0o600)
  await using _closing = { [Symbol.asyncDispose]: () => file.close() }
  await writeAll(file, content)
  // What was chosen for it, whatever the umask.
  // Some file systems have none.
  await file.chmod(mode).catch(() => {})
}

/** Longer content is cut off last: a reader in between finds no less than there was. */
async function writeInPlace(target: string, content: string | Uint8Array): Promise<void> {
  const file = await open(target, constants.O_RDWR | NO_FOLLOW)
  await using _closing = { [Symbol.asyncDispose]: () => file.close() }
  await file.truncate(await writeAll(file, content))
}

/** Returns how many bytes it was. */
async function writeAll(file: FileHandle, content: string | Uint8Array): Promise<number> {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content
  for (let at = 0; at < bytes.byteLength;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.byteLength - at, at)
    at += bytesWritten
  }
  return bytes.byteLength
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? ''
}
