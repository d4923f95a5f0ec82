// Fetches what a model's tensors need of its remote files, with one budget and one progress for all
// of them. fetch-ranges.ts does the work for each file.
import { mkdir } from 'node:fs/promises'
import { internal } from '../../base/errors.ts'
import { checkDisk } from '../store/cache-usage.ts'
import { type ByteRange, readChunkMap } from '../store/chunk-map.ts'
import type { RangeFetcher } from '../create-model.ts'
import { fetchRanges, missingBytesOf } from './fetch-ranges.ts'
import type { FetchRangesOptions, RemoteFile } from './fetch-options.ts'
import { rememberHash } from '../store/file-hashes.ts'

export interface RemoteFilesOptions extends FetchRangesOptions {
  cacheDir: string
  /** Names the model in messages. */
  what: string
  /** Most bytes of all models in the cache. */
  diskBytes?: number | undefined
}

export function createFetcher(
  remotes: readonly RemoteFile[],
  options: RemoteFilesOptions
): RangeFetcher {
  const byPath = new Map(remotes.map((remote) => [remote.path, remote]))
  const { cacheDir, what } = options
  return {
    async fetch(wanted, { signal, onprogress }) {
      let totalBytes = 0
      const jobs: { remote: RemoteFile; ranges: readonly ByteRange[] }[] = []
      for (const { path, ranges } of wanted) {
        const remote = byPath.get(path)
        if (!remote) throw internal(`'${path}' has no source`)
        totalBytes += await missingBytesOf(remote, ranges, options.chunkBytes)
        jobs.push({ remote, ranges })
      }
      await mkdir(cacheDir, { recursive: true })
      await checkDisk(what, totalBytes, options)
      let doneBytes = 0
      let peerBytes = 0
      const signals = [options.signal, signal].filter((each) => each !== undefined)
      for (const { remote, ranges } of jobs) {
        await fetchRanges(remote, ranges, {
          ...options,
          signal: signals.length === 0 ? undefined : AbortSignal.any(signals),
          // Only known once a server without ranges makes it larger.
          room: (neededBytes) => checkDisk(what, neededBytes, options),
          onbytes(bytes, from) {
            doneBytes += bytes
            if (from === 'peers') peerBytes += bytes
            totalBytes = Math.max(totalBytes, doneBytes)
            onprogress?.({ doneBytes, totalBytes, peerBytes })
          }
        })
        const isWhole = readChunkMap(remote.path, remote.sizeBytes) === undefined
        if (isWhole) await rememberHash(remote.path, remote.sha256, cacheDir)
      }
    }
  }
}
