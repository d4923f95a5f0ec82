// `petals models`: lists what is in the cache, how much of it is here, and its converted weights.
import { formatBytes, toHex } from '../../base/bytes.ts'
import { usedBytes } from '../../model/store/cache-usage.ts'
import { type ConvertedModel, listConverted } from '../../model/store/converted-cache.ts'
import { manifestRoot, readManifest } from '../../model/store/manifest.ts'
import {
  listCachedModels,
  type CachedFile,
  type CachedModel
} from '../../model/store/model-cache.ts'
import type { Context } from '../context.ts'
import { print } from '../output.ts'

export interface ModelsFlags {
  json?: boolean | undefined
}

/** What lies in the cache. */
interface Listing {
  readonly cache: string
  readonly usedBytes: number
  readonly models: readonly CachedModel[]
  /** Converted weights of models outside the cache. */
  readonly others: readonly ConvertedModel[]
}

/** Returns the exit code. */
export async function runModels(flags: ModelsFlags, context: Context): Promise<number> {
  const { cache } = context.paths
  const models = await listCachedModels(cache)
  const own = new Set(models.flatMap(({ files }) => files.map(({ path }) => path)))
  const others = listConverted(cache).filter(({ paths }) => !paths.some((path) => own.has(path)))
  const listing = { cache, usedBytes: await usedBytes(cache), models, others }
  const text =
    flags.json === true
      ? `${JSON.stringify(await report(listing), undefined, 2)}\n`
      : table(listing)
  return await print(text)
}

async function report({ cache, usedBytes, models, others }: Listing): Promise<object> {
  const rows = models.map(
    async ({ name, heldBytes, totalBytes, convertedBytes, isInUse, files }) => ({
      model: name,
      inUse: isInUse,
      bytes: heldBytes,
      ofBytes: totalBytes,
      convertedBytes,
      files: await Promise.all(
        files.map(async (file) => ({
          path: file.path,
          hash: file.hash,
          bytes: file.heldBytes,
          ofBytes: file.sizeBytes,
          onPeersWordBytes: file.unverifiedBytes,
          manifest: await rootOf(file, cache)
        }))
      )
    })
  )
  return {
    folder: cache,
    bytes: usedBytes,
    models: await Promise.all(rows),
    convertedOfOthers: others.map(({ paths, sizeBytes }) => ({ paths, bytes: sizeBytes }))
  }
}

/** Root of the manifest of a complete file, if there is one. */
async function rootOf(file: CachedFile, cache: string): Promise<string | null> {
  const { hash: sha256, sizeBytes, heldBytes } = file
  const map = heldBytes < sizeBytes ? undefined : await readManifest(cache, { sha256, sizeBytes })
  return map ? toHex(manifestRoot(map)) : null
}

/** Of names that have a row; two columns of sizes and states stand beside it. */
const LONGEST_NAME = 32

function table({ cache, usedBytes, models, others }: Listing): string {
  if (models.length + others.length === 0) return `No models in ${cache}\n`
  const rows = [...models.map(rowOf), ...others.map(otherRow)]
  const lengths = (column: number): number[] => rows.map((row) => row[column]?.length ?? 0)
  const nameWidth = Math.max(0, ...lengths(0).filter((length) => length <= LONGEST_NAME))
  const heldWidth = Math.max(...lengths(1))
  const lines = rows.map(([name = '', held = '', share = '']) => {
    // A path stands on a line of its own.
    const first = name.length > LONGEST_NAME ? `${name}\n${''.padEnd(nameWidth)}` : name
    return `${first.padEnd(nameWidth)}  ${held.padStart(heldWidth)}  ${share}\n`
  })
  return `${lines.join('')}${formatBytes(usedBytes)} in ${cache}\n`
}

function rowOf(model: CachedModel): string[] {
  const { name, heldBytes, totalBytes, convertedBytes, isInUse, files } = model
  const unverifiedBytes = files.reduce((sum, file) => sum + file.unverifiedBytes, 0)
  const unverified =
    unverifiedBytes === 0 ? '' : `, ${formatBytes(unverifiedBytes)} of it on the word of peers`
  const share =
    heldBytes === totalBytes
      ? 'whole'
      : `${((100 * heldBytes) / totalBytes).toFixed(1)} % of ${formatBytes(totalBytes)}`
  const converted = convertedBytes === 0 ? '' : `, and ${formatBytes(convertedBytes)} converted`
  return [
    name,
    formatBytes(heldBytes),
    `${share}${unverified}${converted}${isInUse ? ', in use' : ''}`
  ]
}

function otherRow({ paths, sizeBytes }: ConvertedModel): string[] {
  return [paths[0] ?? 'unknown', formatBytes(sizeBytes), 'converted, of what lies there']
}
