// A file that is fetched in chunks: sparse on disk, with its journal beside it until it is
// complete. One writer at a time: fetch-ranges.ts holds the file's lock. chunk-map.ts defines the
// journal.
import { type FileHandle, mkdir, open, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { AppError, corrupt } from '../../base/errors.ts'
import {
  type ByteRange,
  CHUNK_BYTES,
  type ChunkMap,
  emptyJournal,
  hasBit,
  hasChunk,
  HEAD_BYTES,
  unverifiedPath,
  heldBytes,
  journalPath,
  missingRuns,
  readChunkMap,
  readUnverified,
  runBytes,
  setBit,
  SLOT_BYTES
} from './chunk-map.ts'
import { removeConvertedFrom } from './converted-cache.ts'
import { sha256File } from './hash-file.ts'

export interface ChunkFileOptions {
  path: string
  sizeBytes: number
  /** Hash of the complete file. */
  sha256: string
  /** Chunk size of a new file. Default: CHUNK_BYTES. */
  chunkBytes?: number
}

export class ChunkFile implements AsyncDisposable {
  readonly path: string
  readonly map: ChunkMap
  readonly #data: FileHandle
  readonly #journal: FileHandle
  /** Chunks that are written but not in the journal yet. */
  readonly #fresh = new Set<number>()
  /** Bits of chunks whose hash is known only from peers. */
  readonly #unverified: Uint8Array

  private constructor(path: string, map: ChunkMap, data: FileHandle, journal: FileHandle) {
    this.path = path
    this.map = map
    this.#data = data
    this.#journal = journal
    this.#unverified = readUnverified(path, map.count)
  }

  /** Opens or creates the file; undefined if it is complete. @throws AppError CORRUPT */
  static async open(options: ChunkFileOptions): Promise<ChunkFile | undefined> {
    const { path, sizeBytes, sha256, chunkBytes = CHUNK_BYTES } = options
    const found = await stat(path).catch(() => undefined)
    let map = found ? readChunkMap(path, sizeBytes) : undefined
    if (found && !map && found.size === sizeBytes) return undefined
    if (found && (found.size !== sizeBytes || map?.sha256 !== sha256)) {
      throw corrupt(`'${path}' is another file than ${sha256} of ${sizeBytes} bytes`, {
        hint: 'Remove it, and it is fetched again'
      })
    }
    if (!map) {
      await mkdir(dirname(path), { recursive: true })
      // The journal first: a file without one counts as complete.
      const aside = `${journalPath(path)}.new`
      await writeFile(aside, emptyJournal(sizeBytes, chunkBytes, sha256))
      await rename(aside, journalPath(path))
      await makeSparse(path, sizeBytes)
      map = readChunkMap(path, sizeBytes)
      if (!map) throw corrupt(`'${journalPath(path)}' vanished`)
    }
    const data = await open(path, 'r+')
    try {
      return new ChunkFile(path, map, data, await open(journalPath(path), 'r+'))
    } catch (error) {
      await data.close()
      throw error
    }
  }

  has(index: number): boolean {
    return hasChunk(this.map, index)
  }

  /** Runs of missing chunks, by index, that `ranges` need. */
  missing(ranges: readonly ByteRange[]): ByteRange[] {
    return missingRuns(this.map, ranges)
  }

  /** Whether a chunk is here that came from its source itself, not from peers. */
  isVouched(index: number): boolean {
    return this.has(index) && !hasBit(this.#unverified, index)
  }

  hash(index: number): Uint8Array {
    return this.map.hashes.slice(index * SLOT_BYTES, (index + 1) * SLOT_BYTES)
  }

  get heldBytes(): number {
    return heldBytes(this.map)
  }

  /**
   * Writes one chunk of the right length; it counts as present after the next commit.
   * `isUnverified`: its hash is known only from peers.
   */
  async write(index: number, bytes: Uint8Array, isUnverified = false): Promise<void> {
    const { map } = this
    if (bytes.byteLength !== runBytes(map, { start: index, end: index + 1 })) {
      throw new RangeError(`Chunk ${index} was given with ${bytes.byteLength} bytes`)
    }
    let done = 0
    while (done < bytes.byteLength) {
      const at = index * map.chunkBytes + done
      done += (await this.#data.write(bytes, done, bytes.byteLength - done, at)).bytesWritten
    }
    const hash = new Bun.CryptoHasher('sha256').update(bytes).digest()
    map.hashes.set(hash, index * SLOT_BYTES)
    setBit(this.#unverified, index, isUnverified)
    this.#fresh.add(index)
  }

  /** Makes written chunks durable: the bytes first, then the journal. */
  async commit(): Promise<void> {
    const fresh = [...this.#fresh].sort((a, b) => a - b)
    if (fresh.length === 0) return
    await this.#data.datasync()
    // First, so that a chunk from peers never counts as verified.
    await this.#writeUnverified(fresh)
    const { hashes } = this.map
    for (const index of fresh) {
      const at = index * SLOT_BYTES
      await this.#journal.write(hashes, at, SLOT_BYTES, HEAD_BYTES + at)
    }
    await this.#journal.datasync()
    for (const index of fresh) this.#fresh.delete(index)
  }

  /**
   * If every chunk is here, checks the whole file and removes the journal; true if it is complete.
   * @throws AppError CORRUPT if the hash is wrong; everything is then removed
   */
  async complete(signal?: AbortSignal): Promise<boolean> {
    const { map, path } = this
    for (let i = 0; i < map.count; i++) if (!hasChunk(map, i)) return false
    if ((await sha256File(path, signal)) !== map.sha256) {
      if (await this.#dropUnverified()) throw new UnverifiedWrong(path)
      await forgetChunkFile(path)
      throw corrupt(`'${path}' is not what its source promised: its SHA-256 is not ${map.sha256}`, {
        hint: 'What was fetched is thrown away; try again, or from another HF_ENDPOINT'
      })
    }
    await rm(journalPath(path))
    await rm(unverifiedPath(path), { force: true })
    return true
  }

  /** Bits of other regions, which other processes may fetch at the same time, are not touched. */
  async #writeUnverified(indexes: readonly number[]): Promise<void> {
    const path = unverifiedPath(this.path)
    const isThere = (await stat(path).catch(() => undefined)) !== undefined
    if (!isThere && !indexes.some((index) => hasBit(this.#unverified, index))) return
    if (!isThere) await writeFile(path, new Uint8Array(this.#unverified.byteLength), { flag: 'a' })
    const file = await open(path, 'r+')
    try {
      for (const at of new Set(indexes.map((index) => index >> 3))) {
        await file.write(this.#unverified, at, 1, at)
      }
      await file.datasync()
    } finally {
      await file.close()
    }
  }

  /** Turns chunks from peers into holes; false if there are none. */
  async #dropUnverified(): Promise<boolean> {
    const { map } = this
    const unverified = readUnverified(this.path, map.count)
    const all = Array.from({ length: map.count }, (_, i) => i)
    const dropped = all.filter((i) => hasBit(unverified, i))
    if (dropped.length === 0) return false
    for (const index of dropped) {
      const at = index * SLOT_BYTES
      map.hashes.fill(0, at, at + SLOT_BYTES)
      await this.#journal.write(map.hashes, at, SLOT_BYTES, HEAD_BYTES + at)
    }
    await this.#journal.datasync()
    await rm(unverifiedPath(this.path), { force: true })
    return true
  }

  async close(): Promise<void> {
    await this.#data.close()
    await this.#journal.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** All chunks were here, and some from peers are wrong. */
export class UnverifiedWrong extends AppError {
  constructor(path: string) {
    super('CORRUPT', `'${path}' is not what its source promised: peers gave wrong bytes of it`, {
      hint: 'What they gave is thrown away; try again, with --no-peer-weights for the hub alone'
    })
  }
}

/** The file goes first: a journal alone does no harm. Converted weights made from it go too. */
export async function forgetChunkFile(path: string): Promise<void> {
  await rm(path, { force: true })
  await rm(unverifiedPath(path), { force: true })
  await rm(journalPath(path), { force: true })
  removeConvertedFrom(path)
}

async function makeSparse(path: string, sizeBytes: number): Promise<void> {
  const aside = `${path}.new`
  const file = await open(aside, 'w')
  try {
    if (process.platform === 'win32') {
      // NTFS fills a file with zeros when it is lengthened, unless it is marked as sparse first.
      // Without that it only takes more room.
      const args = ['fsutil', 'sparse', 'setflag', aside]
      await Bun.spawn(args, { stdout: 'ignore', stderr: 'ignore' }).exited.catch(() => {})
    }
    await file.truncate(sizeBytes)
  } finally {
    await file.close()
  }
  await rename(aside, path)
}
