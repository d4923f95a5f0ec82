// One model's converted weights on disk: found and checked, or written if there is room. Knows
// folders and files; weight-store.ts maps them.
import { closeSync, fstatSync, openSync, readdirSync, rmSync, statfsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { formatBytes } from '../../base/bytes.ts'
import {
  convertedFolder,
  convertedPath,
  openConvertedFolder,
  sweepUnfinished
} from '../../model/store/converted-cache.ts'
import { dataOffset, fileDigest, readHead } from '../../model/store/converted-format.ts'
import { SPARE_BYTES } from '../../model/hub/http.ts'
import type { ModelLocation } from '../../model/types.ts'
import type { KeepOptions } from '../types.ts'
import { DiskTrouble, writeKept, type WeightFile } from './weight-file.ts'
import { layoutOf, partKey, type PartLayout, type WeightPart } from './weight-part.ts'

/** Bytes of a file that are read between two pauses: some ms on a fast disk. */
const READ_AT_ONCE = 2 ** 24

export class KeptWeights {
  readonly #options: KeepOptions
  readonly #location: ModelLocation
  readonly #contentId: string
  readonly #folder: string
  #isOpen = false

  constructor(options: KeepOptions, location: ModelLocation, contentId: string) {
    this.#options = options
    this.#location = location
    this.#contentId = contentId
    this.#folder = convertedFolder(options.cacheDir, contentId)
  }

  /**
   * The part's file, if there is a good one. A bad one is removed, and `onbad` is called. Every
   * byte is read, with pauses: what is read now from the disk is what the engine needs next anyway.
   */
  *find(part: WeightPart, onbad: (why: string) => void): Generator<void, WeightFile | undefined> {
    const { key, name, table } = partKey(this.#contentId, part)
    const path = convertedPath(this.#folder, name)
    const descriptor = openOrUndefined(path)
    if (descriptor === undefined) return undefined
    // Stays undefined if the loading is cancelled meanwhile.
    let found: 'good' | 'bad' | undefined
    try {
      const head = readHead(descriptor, fstatSync(descriptor).size)
      const isWanted =
        Buffer.compare(head.key, key) === 0 &&
        Buffer.compare(head.table, table) === 0 &&
        head.dataBytes === layoutOf(part.specs).sizeBytes
      if (!isWanted) throw new Error('Converted weights cannot be used: they are of something else')
      if ((yield* digestOf(descriptor, head)) !== head.digest) {
        throw new Error('Converted weights cannot be used: their bytes were changed')
      }
      found = 'good'
      return { descriptor, offset: dataOffset(table.byteLength) }
    } catch (error) {
      found = 'bad'
      onbad((error as Error).message)
      return undefined
    } finally {
      if (found !== 'good') closeSync(descriptor)
      if (found === 'bad') removeOrLeave(path)
    }
  }

  /** Writes the part's file. @throws DiskTrouble, and what filling throws */
  *make(part: WeightPart, layout: PartLayout): Generator<void, WeightFile> {
    this.#open()
    this.#requireRoom(layout.sizeBytes)
    const named = partKey(this.#contentId, part)
    return yield* writeKept(this.#folder, layout, named, (sink) => part.make(sink))
  }

  #open(): void {
    if (this.#isOpen) return
    try {
      openConvertedFolder(this.#folder, this.#location)
      sweepUnfinished(this.#folder)
    } catch (cause) {
      throw new DiskTrouble((cause as Error).message, { cause })
    }
    this.#isOpen = true
  }

  #requireRoom(sizeBytes: number): void {
    const { cacheDir, diskBytes } = this.#options
    const { bavail, bsize } = statfsSync(this.#folder)
    const free = bavail * bsize
    if (free < sizeBytes + SPARE_BYTES) {
      throw new DiskTrouble(`${formatBytes(sizeBytes)} are needed, ${formatBytes(free)} are free`)
    }
    if (diskBytes === undefined) return
    const used = bytesUnder(join(cacheDir, 'models')) + bytesUnder(join(cacheDir, 'converted'))
    if (used + sizeBytes > diskBytes) {
      throw new DiskTrouble(
        `${formatBytes(sizeBytes)} are needed, ${formatBytes(used)} of the ` +
          `${formatBytes(diskBytes)} are taken that --disk allows`
      )
    }
  }
}

function* digestOf(file: number, head: ReturnType<typeof readHead>): Generator<void, bigint> {
  const steps = fileDigest(file, head)
  for (let read = 0; ;) {
    const step = steps.next()
    if (step.done) return step.value
    read += step.value
    if (read < READ_AT_ONCE) continue
    read = 0
    yield
  }
}

function openOrUndefined(path: string): number | undefined {
  try {
    return openSync(path, 'r')
  } catch {
    return undefined
  }
}

/** In a folder without write permission the file stays; it is not used all the same. */
function removeOrLeave(path: string): void {
  try {
    rmSync(path, { force: true })
  } catch {
    // see above
  }
}

/** Bytes that files below `folder` take on disk, without holes. */
function bytesUnder(folder: string): number {
  const list = (path: string): string[] => {
    try {
      return readdirSync(path).map((name) => join(path, name))
    } catch {
      return []
    }
  }
  const sizes = list(folder)
    .flatMap(list)
    .map((path) => {
      const found = statSync(path, { throwIfNoEntry: false })
      if (found === undefined) return 0
      return process.platform === 'win32' ? found.size : found.blocks * 512
    })
  return sizes.reduce((sum, size) => sum + size, 0)
}
