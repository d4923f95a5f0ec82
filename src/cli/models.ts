// `petals models`: what is in the cache, how much of it is here, and how much was converted of it.
import { formatBytes } from '../base/bytes.ts'
import { usedBytes } from '../model/cache-usage.ts'
import { type ConvertedModel, listConverted } from '../model/converted-cache.ts'
import { listCachedModels, type CachedModel } from '../model/model-cache.ts'
import type { Context } from './context.ts'

export interface ModelsFlags {
  json?: unknown
}

/** What lies in the cache. */
interface Listing {
  readonly cache: string
  readonly usedBytes: number
  readonly models: readonly CachedModel[]
  /** Converted weights of models that lie elsewhere. */
  readonly others: readonly ConvertedModel[]
}

export async function runModels(flags: ModelsFlags, context: Context): Promise<void> {
  const { cache } = context.paths
  const models = await listCachedModels(cache)
  const own = new Set(models.flatMap(({ files }) => files.map(({ path }) => path)))
  const others = listConverted(cache).filter(({ paths }) => !paths.some((path) => own.has(path)))
  const listing = { cache, usedBytes: await usedBytes(cache), models, others }
  const text =
    flags.json === true ? `${JSON.stringify(report(listing), undefined, 2)}\n` : table(listing)
  process.stdout.write(text)
}

function report({ cache, usedBytes, models, others }: Listing): object {
  return {
    folder: cache,
    bytes: usedBytes,
    models: models.map(({ name, heldBytes, totalBytes, convertedBytes, files }) => ({
      model: name,
      bytes: heldBytes,
      ofBytes: totalBytes,
      convertedBytes,
      files: files.map((file) => ({
        path: file.path,
        hash: file.hash,
        bytes: file.heldBytes,
        ofBytes: file.sizeBytes
      }))
    })),
    convertedOfOthers: others.map(({ paths, sizeBytes }) => ({ paths, bytes: sizeBytes }))
  }
}

function table({ cache, usedBytes, models, others }: Listing): string {
  if (models.length + others.length === 0) return `No models in ${cache}\n`
  const rows = [...models.map(rowOf), ...others.map(otherRow)]
  const widths = [0, 1].map((i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)))
  const lines = rows.map(([name = '', held = '', share = '']) => {
    return `${name.padEnd(widths[0] ?? 0)}  ${held.padStart(widths[1] ?? 0)}  ${share}\n`
  })
  return `${lines.join('')}${formatBytes(usedBytes)} in ${cache}\n`
}

function rowOf({ name, heldBytes, totalBytes, convertedBytes }: CachedModel): string[] {
  const share =
    heldBytes === totalBytes
      ? 'whole'
      : `${((100 * heldBytes) / totalBytes).toFixed(1)} % of ${formatBytes(totalBytes)}`
  const converted = convertedBytes === 0 ? '' : `, and ${formatBytes(convertedBytes)} converted`
  return [name, formatBytes(heldBytes), `${share}${converted}`]
}

function otherRow({ paths, sizeBytes }: ConvertedModel): string[] {
  return [paths[0] ?? 'unknown', formatBytes(sizeBytes), 'converted, of what lies there']
}
