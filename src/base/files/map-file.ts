// Maps open files into memory that can only be read, through their descriptor: it does not matter
// what is at the path by now, nor whether the file or its disk can be written. If a file is cut
// while it is mapped, reading it kills the process, so callers check its size right before.
import { type Pointer, toArrayBuffer } from 'bun:ffi'
import { openLibc } from '../c-library.ts'
import { unavailable } from '../errors.ts'

interface Maps {
  mmap(
    at: Pointer | null,
    length: number,
    protection: number,
    flags: number,
    file: number,
    offset: number
  ): Pointer | null
  munmap: ((at: Pointer, length: number) => number) & { readonly ptr: Pointer }
}

const PROT_READ = 1
/** A write by mistake never reaches the file. */
const MAP_PRIVATE = 2
/** A multiple of every system's page. */
const ALIGNMENT = 65_536

/** With the two arguments that the types leave out. */
const bufferOf = toArrayBuffer as unknown as (
  at: Pointer,
  offset: number,
  length: number,
  context: number,
  release: Pointer
) => ArrayBuffer

let maps: Maps | undefined | null

/**
 * Bytes [offset, offset + length); undefined where it cannot be mapped. Unmapped when nobody holds
 * it.
 */
export function mapFile(file: number, offset: number, length: number): Uint8Array | undefined {
  maps ??= openMaps()
  if (!maps || length === 0) return undefined
  const start = offset - (offset % ALIGNMENT)
  const sizeBytes = offset + length - start
  const at = mapAt(maps, file, start, sizeBytes)
  if (at === undefined) return undefined
  // The buffer's end calls munmap(at, sizeBytes): the context is passed on as the second argument.
  const memory = bufferOf(at, 0, sizeBytes, sizeBytes, maps.munmap.ptr)
  return new Uint8Array(memory, offset - start, length)
}

/** Whether files can be mapped here. */
export function canMap(): boolean {
  return process.platform !== 'win32'
}

/** The first `sizeBytes` of a file; unmap() them. @throws AppError UNAVAILABLE */
export function mapForNative(file: number, sizeBytes: number): Pointer {
  maps ??= openMaps()
  const at = maps ? mapAt(maps, file, 0, sizeBytes) : undefined
  if (at === undefined) throw unavailable(`A file of ${sizeBytes} bytes cannot be mapped`)
  return at
}

/** Ends what mapForNative() began. */
export function unmap(at: Pointer, sizeBytes: number): void {
  maps?.munmap(at, sizeBytes)
}

function mapAt(by: Maps, file: number, offset: number, sizeBytes: number): Pointer | undefined {
  const at = by.mmap(null, sizeBytes, PROT_READ, MAP_PRIVATE, file, offset)
  // MAP_FAILED is -1, which as a pointer is the largest there is.
  return at === null || Number(at) === -1 || Number(at) > 2 ** 63 ? undefined : at
}

/** Null on systems whose files are read instead. */
function openMaps(): Maps | null {
  if (!canMap()) return null
  try {
    return openLibc<Maps>({
      mmap: { args: ['ptr', 'usize', 'i32', 'i32', 'i32', 'i64'], returns: 'ptr' },
      munmap: { args: ['ptr', 'usize'], returns: 'i32' }
    })
  } catch {
    return null
  }
}
