// The manifest of a file: the SHA-256 of each of its chunks, and the root of a hash tree over them,
// which names it. A whole file that was checked has one, kept in cache/manifests/SHA256.chunks in
// the format of a journal; the journal of a partial file is a part of one. Knows no peers.
import { randomUUID } from 'node:crypto'
import { mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { cancelled, corrupt } from '../../base/errors.ts'
import {
  CHUNK_BYTES,
  type ChunkMap,
  emptyJournal,
  hasChunk,
  HEAD_BYTES,
  parseChunkMap,
  runBytes,
  SLOT_BYTES
} from './chunk-map.ts'

/**
 * Leaves and inner nodes are tagged, so that no inner node can pass as a chunk, nor one file's root
 * as another's.
 */
const LEAF = new Uint8Array([0])
const NODE = new Uint8Array([1])
const ROOT = 'petals-manifest-1\n'

/**
 * BLAKE2b-256 over the tree of a manifest's hashes, the sizes and the file's own hash. An odd node
 * at the end of a row moves up unchanged.
 * @throws RangeError if a chunk's hash is missing
 */
export function manifestRoot(map: ChunkMap): Uint8Array {
  const { hashes, count } = map
  let row: Uint8Array[] = []
  for (let i = 0; i < count; i++) {
    if (!hasChunk(map, i)) throw new RangeError(`Chunk ${i} has no hash: there is no root`)
    row.push(blake2b(LEAF, hashes.subarray(i * SLOT_BYTES, (i + 1) * SLOT_BYTES)))
  }
  while (row.length > 1) {
    const above: Uint8Array[] = []
    for (let i = 0; i < row.length; i += 2) {
      const [left = NODE, right] = row.slice(i, i + 2)
      above.push(right === undefined ? left : blake2b(NODE, left, right))
    }
    row = above
  }
  const facts = `${map.sizeBytes} ${map.chunkBytes} ${map.sha256}\n`
  return blake2b(Buffer.from(`${ROOT}${facts}`), row[0] ?? LEAF)
}

/** One root for a model of several files, in order. */
export function modelRoot(roots: readonly Uint8Array[]): Uint8Array {
  const [only] = roots
  return only !== undefined && roots.length === 1 ? only : blake2b(Buffer.from(ROOT), ...roots)
}

function blake2b(...parts: readonly Uint8Array[]): Uint8Array {
  const hasher = new Bun.CryptoHasher('blake2b256')
  for (const part of parts) hasher.update(part)
  return new Uint8Array(hasher.digest())
}

export function manifestPath(cacheDir: string, sha256: string): string {
  return join(cacheDir, 'manifests', `${sha256}.chunks`)
}

/** The kept manifest of a whole file, or undefined. */
export async function readManifest(
  cacheDir: string,
  file: { sha256: string; sizeBytes: number }
): Promise<ChunkMap | undefined> {
  const path = manifestPath(cacheDir, file.sha256)
  const bytes = await readFile(path).catch(() => undefined)
  if (!bytes) return undefined
  try {
    const map = parseChunkMap(bytes, path, file.sizeBytes)
    const isAll = Array.from({ length: map.count }, (_, i) => hasChunk(map, i)).every(Boolean)
    return isAll && map.sha256 === file.sha256 ? map : undefined
  } catch {
    return undefined
  }
}

/** If the cache cannot be written, hashing must be repeated; nothing else is lost. */
export async function writeManifest(cacheDir: string, map: ChunkMap): Promise<void> {
  const path = manifestPath(cacheDir, map.sha256)
  const bytes = emptyJournal(map.sizeBytes, map.chunkBytes, map.sha256)
  bytes.set(map.hashes, HEAD_BYTES)
  try {
    const aside = `${path}.${randomUUID()}`
    await mkdir(join(cacheDir, 'manifests'), { recursive: true })
    await writeFile(aside, bytes)
    await rename(aside, path)
  } catch {
    // see above
  }
}

export async function forgetManifest(cacheDir: string, sha256: string): Promise<void> {
  await rm(manifestPath(cacheDir, sha256), { force: true })
}

export interface MakeManifestOptions {
  cacheDir: string
  /** Default: CHUNK_BYTES. */
  chunkBytes?: number | undefined
  signal?: AbortSignal | undefined
}

/**
 * The manifest of a whole file whose SHA-256 is known: the kept one, or made by reading the file
 * chunk by chunk.
 * @throws AppError CORRUPT if the file has changed, CANCELLED
 */
export async function manifestOf(
  file: { path: string; sha256: string; sizeBytes: number },
  options: MakeManifestOptions
): Promise<ChunkMap> {
  const { cacheDir, chunkBytes = CHUNK_BYTES, signal } = options
  const kept = await readManifest(cacheDir, file)
  if (kept?.chunkBytes === chunkBytes) return kept
  const { path, sha256, sizeBytes } = file
  const map = parseChunkMap(emptyJournal(sizeBytes, chunkBytes, sha256), path, sizeBytes)
  const whole = new Bun.CryptoHasher('sha256')
  const data = await open(path, 'r')
  try {
    const chunk = new Uint8Array(chunkBytes)
    for (let i = 0; i < map.count; i++) {
      if (signal?.aborted) throw cancelled('Hashing a file was cancelled')
      const size = runBytes(map, { start: i, end: i + 1 })
      const { bytesRead } = await data.read(chunk, 0, size, i * chunkBytes)
      const bytes = chunk.subarray(0, bytesRead)
      whole.update(bytes)
      map.hashes.set(new Bun.CryptoHasher('sha256').update(bytes).digest(), i * SLOT_BYTES)
    }
  } finally {
    await data.close()
  }
  if (whole.digest('hex') !== sha256) throw corrupt(`'${path}' is not what it was: it has changed`)
  await writeManifest(cacheDir, map)
  return map
}
