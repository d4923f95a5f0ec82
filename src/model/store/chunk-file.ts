// A file that is fetched by the chunk: sparse on the disk, with its journal beside it until it is
// whole. One writer at a time: fetch-ranges.ts holds the file's lock. chunk-map.ts has the
// journal's form.
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
  heardPath,
  heldBytes,
  journalPath,
  missingRuns,
  readChunkMap,
  readHeard,
  runBytes,
  setBit,
  SLOT_BYTES
} from './chunk-map.ts'
import { removeConvertedFrom } from './converted-cache.ts'
import { sha256File } from './hash-file.ts'

export interface ChunkFileOptions {
  path: string
  sizeBytes: number
  /** What the whole must hash to. */
  sha256: string
  /** Of a new file. Default: CHUNK_BYTES. */
  chunkBytes?: number
}

export class ChunkFile implements AsyncDisposable {
  readonly path: string
  readonly map: ChunkMap
  readonly #data: FileHandle
  readonly #journal: FileHandle
  /** Chunks that are written and not yet in the journal. */
  readonly #fresh = new Set<number>()
  /** Taken on the word of peers. */
  readonly #heard: Uint8Array

  private constructor(path: string, map: ChunkMap, data: FileHandle, journal: FileHandle) {
    this.path = path
    this.map = map
    this.#data = data
    this.#journal = journal
    this.#heard = readHeard(path, map.count)
  }

  /** Opens what is there or makes it; undefined when the file is whole. @throws AppError CORRUPT */
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
      // The journal first: a file without one is taken for whole.
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

  /** Runs of chunks, by index, that `ranges` need and that are not here. */
  missing(ranges: readonly ByteRange[]): ByteRange[] {
    return missingRuns(this.map, ranges)
  }

  /** Whether a chunk is here that came from its source itself, and not on the word of peers. */
  isVouched(index: number): boolean {
    return this.has(index) && !hasBit(this.#heard, index)
  }

  hash(index: number): Uint8Array {
    return this.map.hashes.slice(index * SLOT_BYTES, (index + 1) * SLOT_BYTES)
  }

  get heldBytes(): number {
    return heldBytes(this.map)
  }

  /**
   * Writes one chunk, which must have its whole length; it counts as there after the next commit.
   * `isHeard`: what it should be is known from peers alone.
   */
  async write(index: number, bytes: Uint8Array, isHeard = false): Promise<void> {
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
    setBit(this.#heard, index, isHeard)
    this.#fresh.add(index)
  }

  /** Makes what was written last: the bytes first, then the journal. */
  async commit(): Promise<void> {
    const fresh = [...this.#fresh].sort((a, b) => a - b)
    if (fresh.length === 0) return
    await this.#data.datasync()
    // First, so that nothing heard is ever taken for more.
    await this.#writeHeard(fresh)
    const { hashes } = this.map
    for (const index of fresh) {
      const at = index * SLOT_BYTES
      await this.#journal.write(hashes, at, SLOT_BYTES, HEAD_BYTES + at)
    }
    await this.#journal.datasync()
    for (const index of fresh) this.#fresh.delete(index)
  }

  /**
   * With every chunk there, checks the whole and drops the journal; true when it is whole now.
   * @throws AppError CORRUPT when it hashes to something else; nothing is left of it then
   */
  async complete(signal?: AbortSignal): Promise<boolean> {
    const { map, path } = this
    for (let i = 0; i < map.count; i++) if (!hasChunk(map, i)) return false
    if ((await sha256File(path, signal)) !== map.sha256) {
      if (await this.#dropHeard()) throw new HearsayWrong(path)
      await forgetChunkFile(path)
      throw corrupt(`'${path}' is not what its source promised: its SHA-256 is not ${map.sha256}`, {
        hint: 'What was fetched is thrown away; try again, or from another HF_ENDPOINT'
      })
    }
    await rm(journalPath(path))
    await rm(heardPath(path), { force: true })
    return true
  }

  /** Bytes of others, who fetch at the same time into other regions, are left alone. */
  async #writeHeard(indexes: readonly number[]): Promise<void> {
    const path = heardPath(this.path)
    const isThere = (await stat(path).catch(() => undefined)) !== undefined
    if (!isThere && !indexes.some((index) => hasBit(this.#heard, index))) return
    if (!isThere) await writeFile(path, new Uint8Array(this.#heard.byteLength), { flag: 'a' })
    const file = await open(path, 'r+')
    try {
      for (const at of new Set(indexes.map((index) => index >> 3))) {
        await file.write(this.#heard, at, 1, at)
      }
      await file.datasync()
    } finally {
      await file.close()
    }
  }

  /** Makes holes of what peers gave; false when they gave nothing. */
  async #dropHeard(): Promise<boolean> {
    const { map } = this
    const heard = readHeard(this.path, map.count)
    const all = Array.from({ length: map.count }, (_, i) => i)
    const dropped = all.filter((i) => hasBit(heard, i))
    if (dropped.length === 0) return false
    for (const index of dropped) {
      const at = index * SLOT_BYTES
      map.hashes.fill(0, at, at + SLOT_BYTES)
      await this.#journal.write(map.hashes, at, SLOT_BYTES, HEAD_BYTES + at)
    }
    await this.#journal.datasync()
    await rm(heardPath(this.path), { force: true })
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

/** All chunks were there, and some that peers gave are not the file's. */
export class HearsayWrong extends AppError {
  constructor(path: string) {
    super('CORRUPT', `'${path}' is not what its source promised: peers gave wrong bytes of it`, {
      hint: 'What they gave is thrown away; try again, with --no-peer-weights for the hub alone'
    })
  }
}

/** The file goes first: a journal alone harms nobody. With it goes what was converted of it. */
export async function forgetChunkFile(path: string): Promise<void> {
  await rm(path, { force: true })
  await rm(heardPath(path), { force: true })
  await rm(journalPath(path), { force: true })
  removeConvertedFrom(path)
}

async function makeSparse(path: string, sizeBytes: number): Promise<void> {
  const aside = `${path}.new`
  const file = await open(aside, 'w')
  try {
    if (process.platform === 'win32') {
      // NTFS fills a file that is lengthened unless it was told before; without, it only takes
      // room.
      const args = ['fsutil', 'sparse', 'setflag', aside]
      await Bun.spawn(args, { stdout: 'ignore', stderr: 'ignore' }).exited.catch(() => {})
    }
    await file.truncate(sizeBytes)
  } finally {
    await file.close()
  }
  await rename(aside, path)
}
