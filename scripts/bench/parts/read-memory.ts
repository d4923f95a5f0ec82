// A worker of memory-bandwidth.ts: fills its memory, then reads all of it on request and answers
// with the seconds that this took. Knows no other threads.
import { dlopen } from 'bun:ffi'
import type { ReadOrder } from './memory-bandwidth.ts'

const PROT_READ_WRITE = 3
const MAP_PRIVATE = 2
const MAP_ANONYMOUS = process.platform === 'darwin' ? 0x1000 : 0x20
/** In large pages where the system has them: the best that a machine can do. */
const MADV_HUGEPAGE = 14
const HELD = 1

const libc = dlopen(process.platform === 'darwin' ? 'libSystem.B.dylib' : 'libc.so.6', {
  mmap: { args: ['u64', 'u64', 'i32', 'i32', 'i32', 'i64'], returns: 'u64' },
  madvise: { args: ['u64', 'u64', 'i32'], returns: 'i32' },
  memset: { args: ['u64', 'i32', 'u64'], returns: 'u64' },
  memcmp: { args: ['u64', 'u64', 'u64'], returns: 'i32' }
}).symbols

let at = 0
let sizeBytes = 0

function fill(order: ReadOrder): void {
  sizeBytes = order.sizeBytes
  at = Number(libc.mmap(0, sizeBytes, PROT_READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
  if (process.platform === 'linux') libc.madvise(at, sizeBytes, MADV_HUGEPAGE)
  libc.memset(at, HELD, sizeBytes)
}

/** Compares two equal halves: every byte is read and none is written. */
function read(): number {
  const began = Bun.nanoseconds()
  const order = libc.memcmp(at, at + sizeBytes / 2, sizeBytes / 2)
  if (order !== 0) throw new Error('The memory does not hold what was put there')
  return (Bun.nanoseconds() - began) / 1e9
}

declare const self: Worker
self.onmessage = ({ data }: MessageEvent<ReadOrder | 'read'>) => {
  if (data !== 'read') fill(data)
  self.postMessage(data === 'read' ? read() : 0)
}
