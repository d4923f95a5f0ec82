// Gives memory back to the system: pages of a mapped file, which the system reads again when they
// are touched, and memory that C code has freed. Knows no files; whoever mapped them calls.
import { ptr, type Pointer } from 'bun:ffi'
import { openLibc } from '../c-library.ts'

type Advise = (at: Pointer, length: number, advice: number) => number

const MADV_DONTNEED = 4

let advise: Advise | undefined | null

/**
 * Only for memory that maps a file unchanged, from a page's begin on: any other memory would lose
 * what it holds.
 */
export function dropPages(at: Pointer, sizeBytes: number): void {
  advise ??= openAdvise()
  advise?.(at, sizeBytes, MADV_DONTNEED)
}

/** The same for a view of a mapping. */
export function dropView(view: Uint8Array): void {
  if (view.byteLength > 0) dropPages(ptr(view), view.byteLength)
}

type Trim = (keep: number) => number

let trim: Trim | undefined | null

/**
 * Gives the system what C code has freed and its allocator kept: after a graph was made that was
 * half of its weights once more.
 */
export function trimHeap(): void {
  trim ??= openTrim()
  trim?.(0)
}

/** Null where the allocator is another one, which gives memory back by itself. */
function openTrim(): Trim | null {
  if (process.platform !== 'linux') return null
  try {
    const { malloc_trim } = openLibc<{ malloc_trim: Trim }>({
      malloc_trim: { args: ['usize'], returns: 'i32' }
    })
    return malloc_trim
  } catch {
    return null
  }
}

/** Null where the system has no such call; it then takes pages back when it needs them. */
function openAdvise(): Advise | null {
  if (process.platform === 'win32') return null
  try {
    const { madvise } = openLibc<{ madvise: Advise }>({
      madvise: { args: ['ptr', 'usize', 'i32'], returns: 'i32' }
    })
    return madvise
  } catch {
    return null
  }
}
