// Extracts one member of a zip file (such as a Python wheel), found by the central directory. Sizes
// are checked before anything is unpacked; no names in the archive become paths.
import { createWriteStream } from 'node:fs'
import { PassThrough, Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createInflateRaw } from 'node:zlib'
import { AppError, corrupt, notFound, toAppError, unsupported } from '../../base/errors.ts'
import { type MappedFile, openMappedFile } from '../formats/mapped-file.ts'

const END_SIGNATURE = 0x06054b50
const ENTRY_SIGNATURE = 0x02014b50
const LOCAL_SIGNATURE = 0x04034b50
const END_BYTES = 22
const ENTRY_BYTES = 46
const LOCAL_BYTES = 30
const MAX_COMMENT_BYTES = 65_535
const MAX_DIRECTORY_BYTES = 2 ** 24 // wheels have some KiB
const PIECE_BYTES = 2 ** 20
const STORED = 0
const DEFLATED = 8

interface Member {
  method: number
  packedBytes: number
  sizeBytes: number
  localOffset: number
}

/**
 * Unpacks `member` to `destination`, which is overwritten.
 * @throws AppError CORRUPT, NOT_FOUND, UNSUPPORTED; an AbortError if the signal fires
 */
export async function extractMember(
  archive: string,
  member: string,
  destination: string,
  options: { sizeBytes: number; signal?: AbortSignal | undefined }
): Promise<void> {
  const { sizeBytes, signal } = options
  const file = openMappedFile(archive)
  try {
    const found = findMember(file, member)
    if (found.sizeBytes !== sizeBytes) {
      throw corrupt(`'${member}' has ${found.sizeBytes} bytes where ${sizeBytes} were promised`)
    }
    const start = dataStart(file, found)
    await pipeline(
      Readable.from(pieces(file, start, found.packedBytes)),
      found.method === DEFLATED ? createInflateRaw() : new PassThrough(),
      limitTo(sizeBytes, member),
      createWriteStream(destination),
      signal ? { signal } : {}
    )
  } catch (error) {
    if (error instanceof AppError || signal?.aborted) throw error
    throw corrupt(`'${member}' cannot be unpacked: ${toAppError(error).message}`, { cause: error })
  } finally {
    file.close()
  }
}

function findMember(file: MappedFile, name: string): Member {
  const bad = (why: string): Error => corrupt(`'${file.path}' is no good zip file: ${why}`)
  const tailBytes = Math.min(file.sizeBytes, END_BYTES + MAX_COMMENT_BYTES)
  const tail = viewOf(file.bytes(file.sizeBytes - tailBytes, tailBytes))
  let at = tailBytes - END_BYTES
  while (at >= 0 && tail.getUint32(at, true) !== END_SIGNATURE) at--
  if (at < 0) throw bad('its directory is missing')
  const count = tail.getUint16(at + 10, true)
  const bytes = tail.getUint32(at + 12, true)
  const offset = tail.getUint32(at + 16, true)
  if (count === 0xffff || offset === 0xffffffff) throw unsupported(`'${file.path}' is a zip64 file`)
  if (bytes > MAX_DIRECTORY_BYTES) throw bad(`its directory has ${bytes} bytes`)
  const raw = file.bytes(offset, bytes)
  const directory = viewOf(raw)
  const decoder = new TextDecoder()
  for (let i = 0, entry = 0; i < count; i++) {
    if (entry + ENTRY_BYTES > bytes || directory.getUint32(entry, true) !== ENTRY_SIGNATURE) {
      throw bad('its directory is broken')
    }
    const nameBytes = directory.getUint16(entry + 28, true)
    const rest = directory.getUint16(entry + 30, true) + directory.getUint16(entry + 32, true)
    const nameAt = entry + ENTRY_BYTES
    if (decoder.decode(raw.subarray(nameAt, nameAt + nameBytes)) === name) {
      const method = directory.getUint16(entry + 10, true)
      if (method !== STORED && method !== DEFLATED) {
        throw unsupported(`'${name}' is packed by method ${method}`)
      }
      return {
        method,
        packedBytes: directory.getUint32(entry + 20, true),
        sizeBytes: directory.getUint32(entry + 24, true),
        localOffset: directory.getUint32(entry + 42, true)
      }
    }
    entry = nameAt + nameBytes + rest
  }
  throw notFound(`'${file.path}' has no member '${name}'`)
}

/**
 * Position after the local header, whose name and extra field may differ in length from the
 * directory's.
 */
function dataStart(file: MappedFile, member: Member): number {
  const local = viewOf(file.bytes(member.localOffset, LOCAL_BYTES))
  if (local.getUint32(0, true) !== LOCAL_SIGNATURE) {
    throw corrupt(`'${file.path}' is no good zip file: a member does not begin where it should`)
  }
  return member.localOffset + LOCAL_BYTES + local.getUint16(26, true) + local.getUint16(28, true)
}

function* pieces(file: MappedFile, start: number, length: number): Generator<Uint8Array> {
  for (let at = 0; at < length; at += PIECE_BYTES) {
    yield file.bytes(start + at, Math.min(PIECE_BYTES, length - at))
  }
}

/** Passes exactly `sizeBytes`: a member that unpacks to more is stopped, not written. */
function limitTo(sizeBytes: number, member: string): Transform {
  let seen = 0
  return new Transform({
    transform(piece: Uint8Array, _, done) {
      seen += piece.byteLength
      if (seen > sizeBytes) done(corrupt(`'${member}' unpacks to more than ${sizeBytes} bytes`))
      else done(null, piece)
    },
    flush(done) {
      done(
        seen === sizeBytes ? null : corrupt(`'${member}' unpacks to ${seen} of ${sizeBytes} bytes`)
      )
    }
  })
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
