// Fetches ranges of one file of a hub into its sparse local copy, and checks the whole once every
// chunk is here. Several processes may want ranges of one file at once: each region of it has a
// lock, so that nothing is fetched twice and a client need not wait for everything that a server on
// the same machine fetches. remote-files.ts asks for ranges; chunk-transfer.ts fetches chunks;
// chunk-file.ts stores them.
import { mkdir, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { bringChunks, bytesOf } from './bring-chunks.ts'
import { ChunkFile, UnverifiedWrong } from '../store/chunk-file.ts'
import {
  type ByteRange,
  CHUNK_BYTES,
  emptyMap,
  missingRuns,
  prefixBytes,
  readChunkMap
} from '../store/chunk-map.ts'
import { convertedOf, listConverted, removeConverted } from '../store/converted-cache.ts'
import { withFileLock } from '../../base/files/file-lock.ts'
import type { FetchRangesOptions, RemoteFile } from './fetch-options.ts'
import { bare } from './http.ts'
import { writeManifest } from '../store/manifest.ts'

const REGION_BYTES = 2 ** 28

/**
 * Fetches `ranges` of a file, or all of it if the server does not support ranges.
 * @throws AppError DENIED, NOT_FOUND, CORRUPT, BUSY, UNAVAILABLE, CANCELLED; what has arrived is
 * kept
 */
export async function fetchRanges(
  remote: RemoteFile,
  ranges: readonly ByteRange[],
  options: FetchRangesOptions = {}
): Promise<void> {
  const { path, sizeBytes } = remote
  if ((await missingBytesOf(remote, ranges)) === 0) {
    if (await complete(remote, options)) return
    return await fetchRanges(remote, ranges, { ...options, peers: undefined })
  }
  const { clock = systemClock, signal, log = silentLog, chunkBytes = CHUNK_BYTES } = options
  const { regionBytes = REGION_BYTES } = options
  await mkdir(dirname(path), { recursive: true })
  const onwait = (): void => log.info(`Another process fetches '${bare(remote.url)}'`)
  const openFile = (): Promise<ChunkFile | undefined> =>
    withFileLock(`${path}.lock`, () => ChunkFile.open({ ...remote, chunkBytes }), { clock, signal })
  for (let start = 0, region = 0; start < sizeBytes; start += regionBytes, region++) {
    const end = start + regionBytes
    const parts = ranges
      .map((range) => ({ start: Math.max(range.start, start), end: Math.min(range.end, end) }))
      .filter((part) => part.start < part.end)
    if (parts.length === 0 || (await missingBytesOf(remote, parts)) === 0) continue
    await withFileLock(
      `${path}.${region}.lock`,
      async () => {
        await using file = await openFile()
        if (file) await bringChunks(remote, file, parts, options)
      },
      { clock, signal, onwait }
    )
  }
  if (await complete(remote, options)) return
  await fetchRanges(remote, ranges, { ...options, peers: undefined })
}

/**
 * Checks a file of which every chunk is here. False if peers gave wrong chunks, which are removed.
 */
async function complete(remote: RemoteFile, options: FetchRangesOptions): Promise<boolean> {
  const { path, sizeBytes } = remote
  const { clock = systemClock, signal, cacheDir, log = silentLog } = options
  const isReady = (): boolean => {
    const map = readChunkMap(path, sizeBytes)
    return map !== undefined && prefixBytes(map) === sizeBytes
  }
  if (!isReady()) return true
  return await withFileLock(
    `${path}.lock`,
    async () => {
      await using file = isReady() ? await ChunkFile.open(remote) : undefined
      try {
        const isWhole = (await file?.complete(signal)) ?? false
        if (file && isWhole && cacheDir !== undefined) await writeManifest(cacheDir, file.map)
        return true
      } catch (error) {
        if (!(error instanceof UnverifiedWrong)) throw error
        options.peers?.distrust(remote.sha256)
        // They may have been made from wrong bytes.
        if (cacheDir) removeConverted(convertedOf(listConverted(cacheDir), [path]))
        if (!options.peers || options.reach?.isNone) throw error
        log.warn(`${error.message}: it is fetched from the hub`)
        return false
      }
    },
    { clock, signal }
  )
}

/** Bytes of missing chunks that `ranges` touch. */
export async function missingBytesOf(
  remote: RemoteFile,
  ranges: readonly ByteRange[],
  chunkBytes: number = CHUNK_BYTES
): Promise<number> {
  const { path, sizeBytes, sha256 } = remote
  const found = await stat(path).catch(() => undefined)
  const map = found && readChunkMap(path, sizeBytes)
  if (found?.size === sizeBytes && !map) return 0
  const known = map ?? emptyMap(sizeBytes, chunkBytes, sha256)
  return bytesOf(known, missingRuns(known, ranges))
}
