// SHA-256 of a file, read in pieces, so that neither memory nor the event loop is held by a large one.
import { cancelled } from '../base/errors.ts'

/** Lower-case hex. @throws AppError CANCELLED */
export async function sha256File(path: string, signal?: AbortSignal): Promise<string> {
  const hasher = new Bun.CryptoHasher('sha256')
  for await (const piece of Bun.file(path).stream()) {
    if (signal?.aborted) throw cancelled('Checking a file was cancelled')
    hasher.update(piece)
  }
  return hasher.digest('hex')
}
