// A file as read-only bytes: small pieces are read, large ones mapped where possible, all through
// one descriptor. Fails if the file is no longer what was opened. Of a file that is fetched in
// chunks, only chunks in its journal can be read. Knows no formats.
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs'
import { AppError, closed, corrupt, notFound } from '../../base/errors.ts'
import { fileError } from '../../base/files/file-error.ts'
import { markInUse } from '../../base/files/in-use.ts'
import { mapFile } from '../../base/files/map-file.ts'
import { dropView } from '../../base/files/mapped-pages.ts'
import { hasRange, prefixBytes, readChunkMap } from '../store/chunk-map.ts'

export interface MappedFile {
  readonly path: string
  readonly sizeBytes: number
  /** Time of the last change, whole milliseconds since 1970. */
  readonly modifiedMs: number
  /** Bytes from the start that are here: all, unless the file is fetched in chunks. */
  readonly presentBytes: number
  /** SHA-256 of the whole file as its source claims it, while only some chunks are here. */
  readonly claimedSha256: string | undefined
  has(offset: number, length: number): boolean
  /**
   * The bytes [offset, offset + length).
   * @throws AppError CORRUPT if the file is shorter; AbsentBytes if they were not fetched yet
   */
  bytes(offset: number, length: number): Uint8Array
  /**
   * Fills `into` by reading. Unlike a view, it works for a file that was written to since. @throws
   * AppError CORRUPT
   */
  readInto(offset: number, into: Uint8Array): void
  /** Frees the memory of what was read. Views stay valid and are read from the file again. */
  release(): void
  /** Looks again at what is here; only a file that was incomplete can have changed. */
  refresh(): void
  close(): void
}

/** Bytes that the file will have once they are fetched. The caller decides how many to fetch. */
export class AbsentBytes extends AppError {
  /** From the start of the file. */
  readonly neededBytes: number

  constructor(path: string, neededBytes: number) {
    super('INTERNAL', `'${path}' cannot be read up to ${neededBytes}: that was not fetched`)
    this.neededBytes = neededBytes
  }
}

/**
 * Shorter pieces are read. The rows of a prompt would otherwise take many mappings, of which a
 * process has at most 65,530; and if somebody truncates the file, touching a mapping kills the
 * process.
 */
const MIN_MAPPING_BYTES = 2 ** 20

/** Opens `path` for reading. @throws AppError NOT_FOUND, DENIED, UNAVAILABLE */
export function openMappedFile(path: string): MappedFile {
  let { file, ...opened } = openFile(path)
  let open = true
  /** Views since the last release. */
  const pieces: WeakRef<ArrayBufferLike>[] = []
  let chunks = readChunkMap(path, opened.sizeBytes)
  const changed = (): Error =>
    corrupt(`'${path}' was changed while it was in use`, {
      hint: 'Start again, and put another file in its place by renaming it'
    })
  /** Chunks that arrive change the time of a file; a whole file must not change. */
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
      // The complete file may have replaced the chunks meanwhile.
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
  if (found.isFile()) {
    markInUse(file)
    return { file, sizeBytes: found.size, exactMs: found.mtimeMs }
  }
  closeSync(file)
  throw notFound(`'${path}' cannot be opened: it is no file`)
}
