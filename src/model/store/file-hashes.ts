// The SHA-256 of files without hashing them each time: remembered beside path, size and time of change.
// Whoever can write to the cache can lie about a hash, so the cache is as private as the user's home.
import { randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** What is remembered of the file as it lies there now, or undefined. */
export async function recallHash(path: string, cacheDir: string): Promise<string | undefined> {
  const sidecar = await sidecarPath(path, cacheDir)
  if (sidecar === undefined) return undefined
  const text = await readFile(sidecar, 'utf8').catch(() => '')
  return /^[0-9a-f]{64}$/.test(text) ? text : undefined
}

/** A cache that cannot be written costs the next start some time, and nothing else. */
export async function rememberHash(path: string, sha256: string, cacheDir: string): Promise<void> {
  try {
    const sidecar = await sidecarPath(path, cacheDir)
    if (sidecar === undefined) return
    const aside = `${sidecar}.${randomUUID()}`
    await mkdir(dirname(sidecar), { recursive: true })
    await writeFile(aside, sha256)
    await rename(aside, sidecar)
  } catch {
    // see above
  }
}

async function sidecarPath(path: string, cacheDir: string): Promise<string | undefined> {
  const found = await stat(path).catch(() => undefined)
  if (!found) return undefined
  const key = new Bun.CryptoHasher('blake2b256')
  key.update(`petals-file-1\n${JSON.stringify([path, found.size, found.mtimeMs])}`)
  return join(cacheDir, 'file-hashes', key.digest('hex'))
}
