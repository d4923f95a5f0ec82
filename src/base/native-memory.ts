// Zeroed memory outside the garbage collector's heap, taken from the system and given back at once.
// Knows nothing of what is in it.
import { dlopen, type Pointer } from 'bun:ffi'
import { openLibc } from './c-library.ts'
import { noMemory } from './errors.ts'
import { formatBytes } from './bytes.ts'

interface SystemMemory {
  /** An address, or 0. */
  take(sizeBytes: number): number
  give(address: number, sizeBytes: number): void
}

let opened: SystemMemory | undefined

/** An address of `sizeBytes` zero bytes, at a multiple of 4096. @throws AppError NO_MEMORY */
export function takeMemory(sizeBytes: number): bigint {
  opened ??= process.platform === 'win32' ? openWindows() : openPosix()
  const address = opened.take(sizeBytes)
  // MAP_FAILED is -1, which as an address is the largest there is.
  if (address <= 0 || address > 2 ** 63) {
    throw noMemory(`${formatBytes(sizeBytes)} of memory were refused by the system`)
  }
  return BigInt(address)
}

/** Gives back all of what takeMemory() gave. */
export function giveMemory(address: bigint, sizeBytes: number): void {
  opened?.give(Number(address), sizeBytes)
}

const PROT_READ_WRITE = 3
const MAP_PRIVATE = 2
const MAP_ANONYMOUS = process.platform === 'darwin' ? 0x1000 : 0x20

function openPosix(): SystemMemory {
  const { mmap, munmap } = openLibc<{
    mmap(at: null, size: number, prot: number, flags: number, file: number, from: number): number
    munmap(at: Pointer, size: number): number
  }>({
    mmap: { args: ['ptr', 'usize', 'i32', 'i32', 'i32', 'i64'], returns: 'ptr' },
    munmap: { args: ['ptr', 'usize'], returns: 'i32' }
  })
  return {
    take: (size) => Number(mmap(null, size, PROT_READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
    give: (address, size) => void munmap(address as Pointer, size)
  }
}

const MEM_COMMIT_RESERVE = 0x3000
const MEM_RELEASE = 0x8000
const PAGE_READWRITE = 4

function openWindows(): SystemMemory {
  const { symbols } = dlopen('kernel32.dll', {
    VirtualAlloc: { args: ['ptr', 'usize', 'u32', 'u32'], returns: 'ptr' },
    VirtualFree: { args: ['ptr', 'usize', 'u32'], returns: 'i32' }
  })
  return {
    take: (size) => Number(symbols.VirtualAlloc(null, size, MEM_COMMIT_RESERVE, PAGE_READWRITE)),
    give: (address) => void symbols.VirtualFree(address as Pointer, 0, MEM_RELEASE)
  }
}
