// Which chunks of a file are here: the journal NAME.chunks beside it. Without a journal the file is
// complete. The journal is a head of 64 bytes (magic, chunk size, the whole file's SHA-256 as its
// source claims it), then for each chunk the SHA-256 of its bytes, or zeros while it is a hole. A
// hash is written after its chunk is safe on disk, so that a crash may lose chunks but never
// invents one.
import { readFileSync } from 'node:fs'
import { toHex } from '../../base/bytes.ts'
import { corrupt, toAppError, unavailable } from '../../base/errors.ts'

export const HEAD_BYTES = 64
export const SLOT_BYTES = 32
const MAGIC = 'petals-chunks-1\n'

/** Chunks are the unit of fetching, checking and sharing between peers; 4.6 GB have 18,000. */
export const CHUNK_BYTES: number = 2 ** 18
const MIN_CHUNK_BYTES = 2 ** 10
const MAX_CHUNK_BYTES = 2 ** 26
/** 16 TiB at the default size. A journal is read whole. */
const MAX_CHUNKS = 2 ** 26

/** Bytes [start, end). */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

export interface ChunkMap {
  readonly sizeBytes: number
  readonly chunkBytes: number
  readonly count: number
  /** SHA-256 of the whole file as its source claims it, lower-case hex. */
  readonly sha256: string
  /** SHA-256 of each chunk, zeros where there is none: (count, 32). */
  readonly hashes: Uint8Array
}

/** Word under which a model is found by the hash of its first file. */
export function fileWord(sha256: string): string {
  return `sha256:${sha256}`
}

export function journalPath(path: string): string {
  return `${path}.chunks`
}

/**
 * Path of a bitmap beside the journal: a bit for each chunk whose hash is known only from peers,
 * who may have lied.
 */
export function unverifiedPath(path: string): string {
  return `${path}.unverified`
}

/** The bits of unverifiedPath(); none set if there is no such file: (ceil(count / 8)). */
export function readUnverified(path: string, count: number): Uint8Array {
  const bits = new Uint8Array(Math.ceil(count / 8))
  try {
    bits.set(readFileSync(unverifiedPath(path)).subarray(0, bits.byteLength))
  } catch (error) {
    // If it cannot be read, no chunk counts as verified.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') bits.fill(0xff)
  }
  return bits
}

export function hasBit(bits: Uint8Array, index: number): boolean {
  return ((bits[index >> 3] ?? 0) & (1 << (index & 7))) !== 0
}

export function setBit(bits: Uint8Array, index: number, value = true): void {
  const byte = bits[index >> 3] ?? 0
  bits[index >> 3] = value ? byte | (1 << (index & 7)) : byte & ~(1 << (index & 7))
}

/** The journal of the file at `path`; undefined if there is none. @throws AppError CORRUPT */
export function readChunkMap(path: string, sizeBytes: number): ChunkMap | undefined {
  let bytes: Uint8Array
  try {
    bytes = readFileSync(journalPath(path))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw unavailable(`'${journalPath(path)}' cannot be read: ${toAppError(error).message}`)
  }
  return parseChunkMap(bytes, path, sizeBytes)
}

export function parseChunkMap(bytes: Uint8Array, path: string, sizeBytes: number): ChunkMap {
  const bad = (why: string): Error =>
    corrupt(`'${journalPath(path)}' cannot be used: ${why}`, {
      hint: `Remove it and '${path}', and what was fetched is fetched again`
    })
  const magic = Buffer.from(bytes.subarray(0, MAGIC.length)).toString('latin1')
  if (bytes.byteLength < HEAD_BYTES || magic !== MAGIC) throw bad('it is no journal of chunks')
  const chunkBytes = new DataView(bytes.buffer, bytes.byteOffset).getUint32(MAGIC.length, true)
  if (chunkBytes < MIN_CHUNK_BYTES || chunkBytes > MAX_CHUNK_BYTES) {
    throw bad(`its chunks have ${chunkBytes} bytes`)
  }
  const count = Math.ceil(sizeBytes / chunkBytes)
  if (count > MAX_CHUNKS || bytes.byteLength !== HEAD_BYTES + count * SLOT_BYTES) {
    throw bad(`it has ${bytes.byteLength} bytes, which fit no ${count} chunks`)
  }
  return {
    sizeBytes,
    chunkBytes,
    count,
    sha256: toHex(bytes.subarray(32, HEAD_BYTES)),
    hashes: bytes.subarray(HEAD_BYTES)
  }
}

/** A journal without any chunk. */
export function emptyJournal(sizeBytes: number, chunkBytes: number, sha256: string): Uint8Array {
  const count = Math.ceil(sizeBytes / chunkBytes)
  if (chunkBytes < MIN_CHUNK_BYTES || chunkBytes > MAX_CHUNK_BYTES || count > MAX_CHUNKS) {
    throw new RangeError(`${sizeBytes} bytes cannot be held in chunks of ${chunkBytes}`)
  }
  const bytes = new Uint8Array(HEAD_BYTES + count * SLOT_BYTES)
  bytes.set(Buffer.from(MAGIC, 'latin1'))
  new DataView(bytes.buffer).setUint32(MAGIC.length, chunkBytes, true)
  bytes.set(Uint8Array.fromHex(sha256), 32)
  return bytes
}

/** The map of a file that does not exist yet. */
export function emptyMap(sizeBytes: number, chunkBytes: number, sha256: string): ChunkMap {
  const count = Math.ceil(sizeBytes / chunkBytes)
  return { sizeBytes, chunkBytes, count, sha256, hashes: new Uint8Array(count * SLOT_BYTES) }
}

export function hasChunk(map: ChunkMap, index: number): boolean {
  const at = index * SLOT_BYTES
  for (let i = at; i < at + SLOT_BYTES; i++) if (map.hashes[i] !== 0) return true
  return false
}

/** Whether all bytes of a range are here. */
export function hasRange(map: ChunkMap, range: ByteRange): boolean {
  for (let i = Math.floor(range.start / map.chunkBytes); i * map.chunkBytes < range.end; i++) {
    if (!hasChunk(map, i)) return false
  }
  return true
}

/** Bytes from the start of the file that are here. */
export function prefixBytes(map: ChunkMap): number {
  let count = 0
  while (count < map.count && hasChunk(map, count)) count++
  return Math.min(count * map.chunkBytes, map.sizeBytes)
}

/** Runs of missing chunks [start, end), by index, that `ranges` touch. */
export function missingRuns(map: ChunkMap, ranges: readonly ByteRange[]): ByteRange[] {
  const wanted = new Set<number>()
  for (const { start, end } of ranges) {
    const last = Math.min(Math.ceil(end / map.chunkBytes), map.count)
    for (let i = Math.floor(start / map.chunkBytes); i < last; i++) {
      if (!hasChunk(map, i)) wanted.add(i)
    }
  }
  const runs: { start: number; end: number }[] = []
  for (const index of [...wanted].sort((a, b) => a - b)) {
    const open = runs.at(-1)
    if (open?.end === index) open.end++
    else runs.push({ start: index, end: index + 1 })
  }
  return runs
}

/** Bytes of chunks [start, end). */
export function runBytes(map: ChunkMap, run: ByteRange): number {
  return Math.min(run.end * map.chunkBytes, map.sizeBytes) - run.start * map.chunkBytes
}

/** Bytes of all chunks that are here. */
export function heldBytes(map: ChunkMap): number {
  let held = 0
  for (let i = 0; i < map.count; i++) {
    if (hasChunk(map, i)) held += runBytes(map, { start: i, end: i + 1 })
  }
  return held
}
