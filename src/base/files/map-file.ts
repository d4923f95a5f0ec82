// A piece of an open file as memory that may only be read, mapped through the descriptor that is
// held: what lies at its path by now does not matter, and neither does whether the file or its disk
// can be written. A file that is cut while it is mapped ends the process, so whoever maps looks at
// its size right before.
import { type Pointer, toArrayBuffer } from 'bun:ffi'
import { openLibc } from '../c-library.ts'

interface Maps {
  mmap(
    at: Pointer | null,
    length: number,
    protection: number,
    flags: number,
    file: number,
    offset: number
  ): Pointer | null
  munmap: { readonly ptr: Pointer }
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
  const at = maps.mmap(null, sizeBytes, PROT_READ, MAP_PRIVATE, file, start)
  // MAP_FAILED is -1, which as a pointer is the largest there is.
  if (at === null || Number(at) === -1 || Number(at) > 2 ** 63) return undefined
  // The buffer's end calls munmap(at, sizeBytes): the context is passed on as the second argument.
  const memory = bufferOf(at, 0, sizeBytes, sizeBytes, maps.munmap.ptr)
  return new Uint8Array(memory, offset - start, length)
}

/** Null on systems whose files are read instead. */
function openMaps(): Maps | null {
  if (process.platform === 'win32') return null
  try {
    return openLibc<Maps>({
      mmap: { args: ['ptr', 'usize', 'i32', 'i32', 'i32', 'i64'], returns: 'ptr' },
      munmap: { args: ['ptr', 'usize'], returns: 'i32' }
    })
  } catch {
    return null
  }
}
