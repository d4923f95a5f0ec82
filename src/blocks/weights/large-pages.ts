// Puts what lies in small pages of memory into large ones, where Linux has them: a decode step
// reads every weight once, and finding 2 MiB pages instead of 4 KiB ones saves a seventh of its
// time (EPYC, 135M and 1.1B). The library allocates what its kernels repack without asking for such
// pages, so this comes afterwards. Knows no weights: whatever memory of this process is whole and
// private.
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import { openLibc } from '../../base/c-library.ts'

const SETTINGS = '/sys/kernel/mm/transparent_hugepage'
const PAGE_BYTES = 4096
const LARGE_BYTES = 2 * 1024 * 1024
const PAGES = LARGE_BYTES / PAGE_BYTES
/** Of a page in /proc/self/pagemap: 8 bytes, whose highest bit says that it is in memory. */
const ENTRY_BYTES = 8
const PRESENT = 0x80
/** Since Linux 6.1; before that it is refused, and nothing changes. */
const MADV_COLLAPSE = 25
/** Moved without a pause: some 10 ms. */
const SLICE_PAGES = 16

/** In a row: memory is in pieces, and looking for whole ones would hold the worker up. */
const MOST_REFUSED = 16
/** Small pages of a large one that need not be in memory: gaps between tensors. */
const MOST_MISSING = PAGES / 8

type Advise = (at: number, length: number, advice: number) => number

/** Moves slice by slice; how many bytes each one now has in large pages. */
export function* useLargePages(): Generator<number> {
  const advise = openAdvise()
  if (advise === undefined) return
  let refused = 0
  for (const { from, to } of slices()) {
    const isMoved = advise(from, to - from, MADV_COLLAPSE) === 0
    refused = isMoved ? 0 : refused + 1
    if (refused === MOST_REFUSED) return
    if (isMoved) yield to - from
  }
}

interface Stretch {
  readonly from: number
  readonly to: number
}

/**
 * Large pages of which nearly every small one is in memory, a few at a time; others would take more
 * than they hold.
 */
function* slices(): Generator<Stretch> {
  const file = openSync('/proc/self/pagemap', 'r')
  try {
    const entries = new Uint8Array(PAGES * ENTRY_BYTES)
    for (const { from, to } of privateMemory()) {
      let begin = from
      for (let at = from; at < to; at += LARGE_BYTES) {
        const read = readSync(file, entries, 0, entries.length, (at / PAGE_BYTES) * ENTRY_BYTES)
        const isWhole = read === entries.length && isPresent(entries)
        if (!isWhole && begin < at) yield { from: begin, to: at }
        if (!isWhole) begin = at + LARGE_BYTES
        else if (at + LARGE_BYTES - begin === SLICE_PAGES * LARGE_BYTES) {
          yield { from: begin, to: at + LARGE_BYTES }
          begin = at + LARGE_BYTES
        }
      }
      if (begin < to) yield { from: begin, to }
    }
  } finally {
    closeSync(file)
  }
}

function isPresent(entries: Uint8Array): boolean {
  let missing = 0
  for (let at = ENTRY_BYTES - 1; at < entries.length; at += ENTRY_BYTES) {
    if ((entries[at]! & PRESENT) === 0) missing++
  }
  return missing <= MOST_MISSING
}

/** Memory that shows no file, cut to whole large pages. */
function privateMemory(): Stretch[] {
  const stretches: Stretch[] = []
  for (const line of readFileSync('/proc/self/maps', 'latin1').split('\n')) {
    const found = /^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0\s*(?:\[(?:heap|anon)\S*)?$/.exec(line)
    if (found === null) continue
    const [from, to] = [`0x${found[1]}`, `0x${found[2]}`].map(Number)
    if (from === undefined || to === undefined) continue
    const inside = {
      from: Math.ceil(from / LARGE_BYTES) * LARGE_BYTES,
      to: Math.floor(to / LARGE_BYTES) * LARGE_BYTES
    }
    if (inside.from < inside.to) stretches.push(inside)
  }
  return stretches
}

/** Undefined where there are no such pages, or where they are not wanted. */
function openAdvise(): Advise | undefined {
  if (process.platform !== 'linux') return undefined
  try {
    const sizeBytes = Number(readFileSync(`${SETTINGS}/hpage_pmd_size`, 'latin1'))
    if (sizeBytes !== LARGE_BYTES) return undefined
    if (readFileSync(`${SETTINGS}/enabled`, 'latin1').includes('[never]')) return undefined
    const { madvise } = openLibc<{ madvise: Advise }>({
      madvise: { args: ['u64', 'usize', 'i32'], returns: 'i32' }
    })
    return madvise
  } catch {
    return undefined
  }
}
