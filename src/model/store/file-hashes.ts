// Remembers the SHA-256 of files by path, size, inode and time of the last change, so that they
// need not be hashed each time. The time of writing can be set at will; the time of change cannot.
// Whoever can write to the cache can lie about a hash, so the cache is as private as the user's
// home.
import { randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** The remembered hash of the file as it is now, or undefined. */
export async function recallHash(path: string, cacheDir: string): Promise<string | undefined> {
  const state = await fileState(path)
  if (state === undefined) return undefined
  const text = await readFile(join(cacheDir, 'file-hashes', state), 'utf8').catch(() => '')
  return /^[0-9a-f]{64}$/.test(text) ? text : undefined
}

/**
 * Remembers a file's hash, if the file is still as it was before hashing (fileState() of then). If
 * the cache cannot be written, the next start only takes longer.
 */
export async function rememberHash(
  path: string,
  sha256: string,
  cacheDir: string,
  before?: string
): Promise<void> {
  try {
    const state = await fileState(path)
    if (state === undefined || (before !== undefined && before !== state)) return
    const sidecar = join(cacheDir, 'file-hashes', state)
    const aside = `${sidecar}.${randomUUID()}`
    await mkdir(dirname(sidecar), { recursive: true })
    await writeFile(aside, sha256)
    await rename(aside, sidecar)
  } catch {
    // see above
  }
}

/**
 * A state that no other file has and that differs after each change; undefined if there is no file.
 */
export async function fileState(path: string): Promise<string | undefined> {
  const found = await stat(path, { bigint: true }).catch(() => undefined)
  if (!found) return undefined
  const { size, dev, ino, mtimeNs, ctimeNs } = found
  const key = new Bun.CryptoHasher('blake2b256')
  key.update(`petals-file-2\n${[path, size, dev, ino, mtimeNs, ctimeNs].join('\n')}`)
  return key.digest('hex')
}
