// A file as read-only bytes: small pieces are read, large ones are mapped where that is possible,
// all through one descriptor, and never when the file is not what it was when it was opened. Of a
// file that is fetched by the chunk, only what its journal has can be read. Knows no formats.
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs'
import { AppError, closed, corrupt, notFound } from '../../base/errors.ts'
import { fileError } from '../../base/files/file-error.ts'
import { mapFile } from '../../base/files/map-file.ts'
import { dropView } from '../../base/files/mapped-pages.ts'
import { hasRange, prefixBytes, readChunkMap } from '../store/chunk-map.ts'

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
  /** Fills `into`; unlike a view, of a file that was written to since. @throws AppError CORRUPT */
  readInto(offset: number, into: Uint8Array): void
  /**
   * Gives back the memory of what was read; a view stays valid, and is read from the file again.
   */
  release(): void
  /** Looks again at what is here; only a file that was not whole can have changed. */
  refresh(): void
  close(): void
}

/**
 * Bytes that a file will have when they are fetched; whoever fetches decides on how many are
 * needed.
 */
export class AbsentBytes extends AppError {
  /** From the start of the file. */
  readonly neededBytes: number

  constructor(path: string, neededBytes: number) {
    super('INTERNAL', `'${path}' cannot be read up to ${neededBytes}: that was not fetched`)
    this.neededBytes = neededBytes
  }
}

/**
 * Less than this is read: the rows of a prompt would be many mappings, of which a process has
 * 65,530, and what is read late and often must not end the process when somebody cuts the file.
 */
const MIN_MAPPING_BYTES = 2 ** 20

/** Opens `path` for reading. @throws AppError NOT_FOUND, DENIED, UNAVAILABLE */
export function openMappedFile(path: string): MappedFile {
  let { file, ...opened } = openFile(path)
  let open = true
  /** Mapped since the last release. */
  const pieces: WeakRef<ArrayBufferLike>[] = []
  let chunks = readChunkMap(path, opened.sizeBytes)
  const changed = (): Error =>
    corrupt(`'${path}' was changed while it was in use`, {
      hint: 'Start again, and put another file in its place by renaming it'
    })
  /** Chunks that come change the time; nothing may change a whole file. */
  const check = (): void => {
    const { size, mtimeMs } = fstatSync(file)
    const isSame = chunks !== undefined || mtimeMs === opened.exactMs
    if (size !== opened.sizeBytes || !isSame) throw changed()
  }
  const fill = (offset: number, into: Uint8Array): void => {
    let filled = 0
    while (filled < into.byteLength) {
      const count = readSync(file, into, filled, into.byteLength - filled, offset + filled)
      if (count === 0) throw changed()
      filled += count
    }
  }
  /** @throws AppError CLOSED, CORRUPT, AbsentBytes */
  const checkRange = (offset: number, length: number): void => {
    if (!open) throw closed(`'${path}' cannot be read: it was closed`)
    if (!(offset >= 0 && length >= 0 && offset + length <= opened.sizeBytes)) {
      throw corrupt(
        `'${path}' cannot be read at ${offset}: ${length} bytes would end past its ${opened.sizeBytes}`
      )
    }
    if (!has(offset, length)) throw new AbsentBytes(path, offset + length)
  }
  const has = (offset: number, length: number): boolean =>
    chunks === undefined || hasRange(chunks, { start: offset, end: offset + length })
  return {
    path,
    sizeBytes: opened.sizeBytes,
    modifiedMs: Math.floor(opened.exactMs),
    get presentBytes() {
      return chunks === undefined ? opened.sizeBytes : prefixBytes(chunks)
    },
    get claimedSha256() {
      return chunks?.sha256
    },
    has,
    refresh() {
      if (chunks === undefined || !open) return
      // Somebody may have put the whole in place of the chunks meanwhile.
      const now = openFile(path)
      closeSync(file)
      file = now.file
      opened = now
      chunks = readChunkMap(path, opened.sizeBytes)
    },
    bytes(offset, length) {
      checkRange(offset, length)
      if (length === 0) return new Uint8Array(0)
      check()
      const piece = length >= MIN_MAPPING_BYTES ? mapFile(file, offset, length) : undefined
      if (piece) {
        pieces.push(new WeakRef(piece.buffer))
        return piece
      }
      const bytes = new Uint8Array(length)
      fill(offset, bytes)
      check()
      return bytes
    },
    readInto(offset, into) {
      checkRange(offset, into.byteLength)
      if (fstatSync(file).size !== opened.sizeBytes) throw changed()
      fill(offset, into)
    },
    release() {
      for (const piece of pieces.splice(0)) {
        const memory = piece.deref()
        if (memory) dropView(new Uint8Array(memory))
      }
    },
    close() {
      if (open) closeSync(file)
      open = false
      pieces.length = 0
    }
  }
}

interface OpenFile {
  readonly file: number
  readonly sizeBytes: number
  readonly exactMs: number
}

function openFile(path: string): OpenFile {
  let file: number
  try {
    file = openSync(path, 'r')
  } catch (error) {
    const what = `'${path}' cannot be opened`
    const found = statSync(path, { throwIfNoEntry: false })
    if (!found) throw notFound(`${what}: there is no such file`)
    throw fileError(what, error)
  }
  const found = fstatSync(file)
  if (found.isFile()) return { file, sizeBytes: found.size, exactMs: found.mtimeMs }
  closeSync(file)
  throw notFound(`'${path}' cannot be opened: it is no file`)
}
