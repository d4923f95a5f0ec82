// A file that is fetched by the chunk: sparse on the disk, with its journal beside it until it is whole.
// One writer at a time: fetch-ranges.ts holds the file's lock. chunk-map.ts has the journal's form.
import { type FileHandle, mkdir, open, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { corrupt } from '../base/errors.ts'
import {
  type ByteRange,
  CHUNK_BYTES,
  type ChunkMap,
  emptyJournal,
  hasChunk,
  HEAD_BYTES,
  heldBytes,
  journalPath,
  missingRuns,
  readChunkMap,
  runBytes,
  SLOT_BYTES
} from './chunk-map.ts'
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

  private constructor(path: string, map: ChunkMap, data: FileHandle, journal: FileHandle) {
    this.path = path
    this.map = map
    this.#data = data
    this.#journal = journal
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

  get heldBytes(): number {
    return heldBytes(this.map)
  }

  /** Writes one chunk, which must have its whole length; it counts as there after the next commit. */
  async write(index: number, bytes: Uint8Array): Promise<void> {
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
    this.#fresh.add(index)
  }

  /** Makes what was written last: the bytes first, then the journal. */
  async commit(): Promise<void> {
    const fresh = [...this.#fresh].sort((a, b) => a - b)
    if (fresh.length === 0) return
    await this.#data.datasync()
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
      await forgetChunkFile(path)
      throw corrupt(`'${path}' is not what its source promised: its SHA-256 is not ${map.sha256}`, {
        hint: 'What was fetched is thrown away; try again, or from another HF_ENDPOINT'
      })
    }
    await rm(journalPath(path))
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

/** The file goes first: a journal alone harms nobody. */
export async function forgetChunkFile(path: string): Promise<void> {
  await rm(path, { force: true })
  await rm(journalPath(path), { force: true })
}

async function makeSparse(path: string, sizeBytes: number): Promise<void> {
  const aside = `${path}.new`
  const file = await open(aside, 'w')
  try {
    if (process.platform === 'win32') {
      // NTFS fills a file that is lengthened unless it was told before; without, it only takes room.
      const args = ['fsutil', 'sparse', 'setflag', aside]
      await Bun.spawn(args, { stdout: 'ignore', stderr: 'ignore' }).exited.catch(() => {})
    }
    await file.truncate(sizeBytes)
  } finally {
    await file.close()
  }
  await rename(aside, path)
}
