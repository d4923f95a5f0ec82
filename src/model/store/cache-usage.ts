// Disk space taken by the cache's models, and whether there is room for more. Knows no networks.
// Holes in files that are fetched in chunks count nothing.
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { formatBytes } from '../../base/bytes.ts'
import { unavailable } from '../../base/errors.ts'
import { hasBit, hasChunk, heldBytes, readChunkMap, readUnverified, runBytes } from './chunk-map.ts'
import { convertedBytes } from './converted-cache.ts'
import { systemFreeBytes } from '../hub/download.ts'
import { checkRoom } from '../hub/http.ts'

export interface RoomOptions {
  cacheDir: string
  /** Most bytes of all models in the cache. Default: what the disk has. */
  diskBytes?: number | undefined
  freeBytes?: ((folder: string) => Promise<number>) | undefined
}

/** Bytes of a file that are here. */
export async function heldBytesOf(path: string): Promise<number> {
  const found = await stat(path).catch(() => undefined)
  if (!found?.isFile()) return 0
  try {
    const map = readChunkMap(path, found.size)
    return map ? heldBytes(map) : found.size
  } catch {
    return found.blocks * 512 // a journal that is none: what the disk says
  }
}

/** Bytes of a file that are here and were verified only by peers. */
export async function unverifiedBytesOf(path: string): Promise<number> {
  const found = await stat(path).catch(() => undefined)
  if (!found?.isFile()) return 0
  try {
    const map = readChunkMap(path, found.size)
    if (!map) return 0
    const unverified = readUnverified(path, map.count)
    let bytes = 0
    for (let i = 0; i < map.count; i++) {
      if (hasBit(unverified, i) && hasChunk(map, i))
        bytes += runBytes(map, { start: i, end: i + 1 })
    }
    return bytes
  } catch {
    return 0 // a journal that is none
  }
}

/** Bytes of all weights in the cache, original and converted. */
export async function usedBytes(cacheDir: string): Promise<number> {
  const root = join(cacheDir, 'models')
  let sum = convertedBytes(cacheDir)
  for (const folder of await readdir(root).catch(() => [])) {
    for (const name of await readdir(join(root, folder)).catch(() => [])) {
      if (!name.endsWith('.lock')) sum += await heldBytesOf(join(root, folder, name))
    }
  }
  return sum
}

/** @throws AppError UNAVAILABLE with the numbers if the disk or the budget is too small */
export async function checkDisk(
  what: string,
  neededBytes: number,
  options: RoomOptions
): Promise<void> {
  const { cacheDir, diskBytes, freeBytes = systemFreeBytes } = options
  if (neededBytes <= 0) return
  checkRoom(what, neededBytes, await freeBytes(cacheDir))
  if (diskBytes === undefined) return
  const used = await usedBytes(cacheDir)
  if (used + neededBytes <= diskBytes) return
  throw unavailable(
    `'${what}' cannot be downloaded: ${formatBytes(neededBytes)} are needed, models take ` +
      `${formatBytes(used)} of the ${formatBytes(diskBytes)} that they may`,
    {
      hint: 'Give more with --disk, serve fewer blocks, or make room with petals rm MODEL',
      retryable: false
    }
  )
}
