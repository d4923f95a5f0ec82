// A file as read-only bytes: memory-mapped, in windows where it is too large for one view, or read
// piece by piece where mapping is not possible. Of a file that is fetched by the chunk, only what its
// journal has can be read. Knows no formats.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { AppError, closed, corrupt, notFound, toAppError, unavailable } from '../../base/errors.ts'
import { dropView } from '../../base/mapped-pages.ts'
import { type ChunkMap, hasRange, prefixBytes, readChunkMap } from '../store/chunk-map.ts'

export interface MappedFile {
  readonly path: string
  readonly sizeBytes: number
  /** Whole milliseconds since 1970 at which the file last changed. */
  readonly modifiedMs: number
  /** How many bytes from the start on are here: all, unless the file is fetched by the chunk. */
  readonly presentBytes: number
  /** The whole file's SHA-256 as its source claims it, while only some chunks are here. */
  readonly claimedSha256: string | undefined
  has(offset: number, length: number): boolean
  /**
   * The bytes [offset, offset + length).
   * @throws AppError CORRUPT when the file has none there, AbsentBytes when they were not fetched
   */
  bytes(offset: number, length: number): Uint8Array
  /** Gives back the memory of what was read; a view stays valid, and is read from the file again. */
  release(): void
  /** Looks again at what is here; only a file that was not whole can have changed. */
  refresh(): void
  close(): void
}

/** Bytes that a file will have when they are fetched; whoever fetches decides on how many are needed. */
export class AbsentBytes extends AppError {
  /** From the start of the file. */
  readonly neededBytes: number

  constructor(path: string, neededBytes: number) {
    super('INTERNAL', `'${path}' cannot be read up to ${neededBytes}: that was not fetched`)
    this.neededBytes = neededBytes
  }
}

/** One typed array can span 4 GiB in this engine; files over half of it are mapped by the piece. */
const MAX_VIEW_BYTES = 2 ** 31
/** Less than this is read and not mapped: a process has 65,530 mappings, a prompt may have many rows. */
const MIN_MAPPING_BYTES = 2 ** 20

/** Opens `path` for reading. @throws AppError NOT_FOUND, UNAVAILABLE */
export function openMappedFile(path: string): MappedFile {
  const stat = statFile(path)
  let whole: Uint8Array | undefined
  let mapping = stat.sizeBytes > 0
  let open = true
  /** Mapped by themselves since the last release. */
  const pieces: WeakRef<Uint8Array>[] = []
  let chunks: ChunkMap | undefined
  const look = (): void => {
    chunks = readChunkMap(path, stat.sizeBytes)
    // What is mapped before it is written need not show what is written: pieces are mapped until then.
    if (chunks === undefined && mapping && stat.sizeBytes <= MAX_VIEW_BYTES) {
      whole = mapOrUndefined(path, 0, stat.sizeBytes)
      mapping = whole !== undefined
    }
  }
  look()
  const has = (offset: number, length: number): boolean =>
    chunks === undefined || hasRange(chunks, { start: offset, end: offset + length })
  return {
    path,
    ...stat,
    get presentBytes() {
      return chunks === undefined ? stat.sizeBytes : prefixBytes(chunks)
    },
    get claimedSha256() {
      return chunks?.sha256
    },
    has,
    refresh() {
      if (chunks !== undefined && open) look()
    },
    bytes(offset, length) {
      if (!open) throw closed(`'${path}' cannot be read: it was closed`)
      if (!(offset >= 0 && length >= 0 && offset + length <= stat.sizeBytes)) {
        throw corrupt(
          `'${path}' cannot be read at ${offset}: ${length} bytes would end past its ${stat.sizeBytes}`
        )
      }
      if (length === 0) return new Uint8Array(0)
      if (!has(offset, length)) throw new AbsentBytes(path, offset + length)
      if (whole) return whole.subarray(offset, offset + length)
      const isWorthIt = mapping && length >= MIN_MAPPING_BYTES
      const piece = isWorthIt ? mapOrUndefined(path, offset, length) : undefined
      if (piece) pieces.push(new WeakRef(piece))
      return piece ?? readPiece(path, offset, length)
    },
    release() {
      if (whole) dropView(whole)
      for (const piece of pieces.splice(0)) {
        const view = piece.deref()
        if (view) dropView(view)
      }
    },
    close() {
      open = false
      pieces.length = 0
      whole = undefined
    }
  }
}

function statFile(path: string): { sizeBytes: number; modifiedMs: number } {
  let descriptor: number
  try {
    descriptor = openSync(path, 'r')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT') throw notFound(`'${path}' cannot be opened: there is no such file`)
    throw unavailable(`'${path}' cannot be opened: ${toAppError(error).message}`, { cause: error })
  }
  try {
    const stat = fstatSync(descriptor)
    if (!stat.isFile()) throw notFound(`'${path}' cannot be opened: it is no file`)
    return { sizeBytes: stat.size, modifiedMs: Math.floor(stat.mtimeMs) }
  } finally {
    closeSync(descriptor)
  }
}

// Private, so that a write through a view by mistake never reaches the file.
function mapOrUndefined(path: string, offset: number, size: number): Uint8Array | undefined {
  try {
    const view = Bun.mmap(path, { shared: false, offset, size })
    return view.byteLength === size ? view : undefined
  } catch {
    return undefined // no mmap on this platform or file system: pieces are read instead
  }
}

function readPiece(path: string, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  const descriptor = openSync(path, 'r')
  try {
    let filled = 0
    while (filled < length) {
      const count = readSync(descriptor, bytes, filled, length - filled, offset + filled)
      if (count === 0) throw corrupt(`'${path}' became shorter while it was read`)
      filled += count
    }
  } finally {
    closeSync(descriptor)
  }
  return bytes
}
