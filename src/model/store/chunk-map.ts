// Which chunks of a file are here: the journal NAME.chunks beside it. No journal, and the file is
// whole. A head of 64 bytes (magic, chunk size, the whole file's SHA-256 as its source claims it),
// then for each chunk the SHA-256 of its bytes, or zeros while they are a hole. A slot is written
// after its bytes are safe on the disk, so that a crash at any time loses chunks and never invents
// one.
import { readFileSync } from 'node:fs'
import { toHex } from '../../base/bytes.ts'
import { corrupt, toAppError, unavailable } from '../../base/errors.ts'

export const HEAD_BYTES = 64
export const SLOT_BYTES = 32
const MAGIC = 'petals-chunks-1\n'

/** Chunks are the unit of fetching, checking and (between peers) sharing; 4.6 GB have 18,000. */
export const CHUNK_BYTES: number = 2 ** 18
const MIN_CHUNK_BYTES = 2 ** 10
const MAX_CHUNK_BYTES = 2 ** 26
/** 16 TiB of the default size; a journal is read whole. */
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
  /** Of the whole file, as its source claims it: lower-case hex. */
  readonly sha256: string
  /** A SHA-256 for each chunk, zeros where there is none: (count, 32). */
  readonly hashes: Uint8Array
}

/** Under which a model is looked for by the first of its files. */
export function fileWord(sha256: string): string {
  return `sha256:${sha256}`
}

export function journalPath(path: string): string {
  return `${path}.chunks`
}

/**
 * Beside a journal: a bit for each chunk that was taken on the word of peers, who may have lied.
 */
export function heardPath(path: string): string {
  return `${path}.heard`
}

/** The bits of heardPath(), none set where there is no such file: (ceil(count / 8)). */
export function readHeard(path: string, count: number): Uint8Array {
  const bits = new Uint8Array(Math.ceil(count / 8))
  try {
    bits.set(readFileSync(heardPath(path)).subarray(0, bits.byteLength))
  } catch (error) {
    // What cannot be read is trusted the less.
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

/** The journal of the file at `path`, undefined when there is none. @throws AppError CORRUPT */
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

/** A journal that knows no chunk yet. */
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

/** Of a file that is not there at all. */
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

/** How many bytes from the start on are here. */
export function prefixBytes(map: ChunkMap): number {
  let count = 0
  while (count < map.count && hasChunk(map, count)) count++
  return Math.min(count * map.chunkBytes, map.sizeBytes)
}

/** Runs of chunks [start, end), by index, that `ranges` touch and that are not here. */
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
