// Hashes files in pieces, so that a large one takes little memory and does not block the event
// loop.
import { cancelled } from '../../base/errors.ts'

/** Lower-case hex. @throws AppError CANCELLED */
export async function sha256File(path: string, signal?: AbortSignal): Promise<string> {
  return await update(new Bun.CryptoHasher('sha256'), path, signal)
}

/** A file's hash of the same kind as `hash`: a SHA-256, or a git blob id if it has 40 digits. */
export async function hashLike(hash: string, path: string, signal?: AbortSignal): Promise<string> {
  if (hash.length !== 40) return await sha256File(path, signal)
  const hasher = new Bun.CryptoHasher('sha1')
  hasher.update(`blob ${Bun.file(path).size}\0`)
  return await update(hasher, path, signal)
}

/** As hashLike, for bytes in memory. */
export function hashLikeBytes(hash: string, bytes: Uint8Array): string {
  if (hash.length !== 40) return new Bun.CryptoHasher('sha256').update(bytes).digest('hex')
  const hasher = new Bun.CryptoHasher('sha1')
  return hasher.update(`blob ${bytes.byteLength}\0`).update(bytes).digest('hex')
}

async function update(
  hasher: Bun.CryptoHasher,
  path: string,
  signal: AbortSignal | undefined
): Promise<string> {
  for await (const piece of Bun.file(path).stream()) {
    if (signal?.aborted) throw cancelled('Checking a file was cancelled')
    hasher.update(piece)
  }
  return hasher.digest('hex')
}
