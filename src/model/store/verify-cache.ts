// Checks cached files against their hashes: whole files against their source's hash, partial ones
// chunk by chunk against the journal. Damaged bytes are removed, so that they are fetched again.
import { open, rm } from 'node:fs/promises'
import { cancelled, inUse } from '../../base/errors.ts'
import { forgetChunkFile } from './chunk-file.ts'
import {
  type ChunkMap,
  hasChunk,
  HEAD_BYTES,
  heldBytes,
  journalPath,
  readChunkMap,
  runBytes,
  SLOT_BYTES
} from './chunk-map.ts'
import { hashLike } from './hash-file.ts'
import { type CachedFile, tryFetchLocks } from './model-cache.ts'

export interface VerifyOptions {
  signal?: AbortSignal | undefined
  /** Called with bytes as they are checked. */
  onbytes?: (bytes: number) => void
}

export interface VerifiedFile {
  readonly path: string
  /** Whether all of it is here. */
  readonly isWhole: boolean
  readonly checkedBytes: number
  /** Damaged bytes, which were removed. */
  readonly damagedBytes: number
}

/** @throws AppError IN_USE if another process is fetching it, CORRUPT for a bad journal */
export async function verifyFile(
  file: CachedFile,
  options: VerifyOptions = {}
): Promise<VerifiedFile> {
  const { path, hash, sizeBytes } = file
  const release = await tryFetchLocks(path)
  if (!release) throw inUse(`'${path}' cannot be checked: another process fetches it`)
  try {
    const map = readChunkMap(path, sizeBytes)
    if (map) return await verifyChunks(path, map, options)
    const isGood = (await hashLike(hash, path, options.signal)) === hash
    options.onbytes?.(sizeBytes)
    if (!isGood) await rm(path)
    return {
      path,
      isWhole: isGood,
      checkedBytes: sizeBytes,
      damagedBytes: isGood ? 0 : sizeBytes
    }
  } finally {
    await release()
  }
}

async function verifyChunks(
  path: string,
  map: ChunkMap,
  options: VerifyOptions
): Promise<VerifiedFile> {
  let damagedBytes = 0
  const checkedBytes = heldBytes(map)
  const data = await open(path, 'r')
  const journal = await open(journalPath(path), 'r+')
  try {
    const chunk = new Uint8Array(map.chunkBytes)
    for (let index = 0; index < map.count; index++) {
      if (!hasChunk(map, index)) continue
      if (options.signal?.aborted) throw cancelled('Checking was cancelled')
      const size = runBytes(map, { start: index, end: index + 1 })
      const { bytesRead } = await data.read(chunk, 0, size, index * map.chunkBytes)
      const hash = new Bun.CryptoHasher('sha256').update(chunk.subarray(0, bytesRead)).digest()
      const at = index * SLOT_BYTES
      options.onbytes?.(size)
      if (hash.equals(map.hashes.subarray(at, at + SLOT_BYTES))) continue
      damagedBytes += size
      await journal.write(new Uint8Array(SLOT_BYTES), 0, SLOT_BYTES, HEAD_BYTES + at)
    }
  } finally {
    await data.close()
    await journal.close()
  }
  if (damagedBytes === checkedBytes) await forgetChunkFile(path)
  return { path, isWhole: false, checkedBytes, damagedBytes }
}
