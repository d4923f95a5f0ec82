// Disk space for a model's tensors: what is free, within the limit that --disk sets for the cache.
import { dirname } from 'node:path'
import { usedBytes } from '../model/store/cache-usage.ts'
import { systemFreeBytes } from '../model/hub/download.ts'
import { SPARE_BYTES } from '../model/hub/http.ts'
import { parseBytes } from './options.ts'

/** Bytes that may still be fetched into `cacheDir`. @throws AppError BAD_INPUT */
export async function diskRoom(cacheDir: string, disk: string | undefined): Promise<number> {
  const most = parseBytes('disk', disk)
  const free = Math.max(0, (await freeBytes(cacheDir)) - SPARE_BYTES)
  if (most === undefined) return free
  return Math.max(0, Math.min(free, most - (await usedBytes(cacheDir))))
}

/** Free space of the folder, or of the nearest parent that exists. */
async function freeBytes(folder: string): Promise<number> {
  try {
    return await systemFreeBytes(folder)
  } catch (error) {
    const above = dirname(folder)
    if (above === folder) throw error
    return freeBytes(above)
  }
}
