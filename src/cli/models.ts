// `petals models`: what is in the cache, and how much of it is here.
import { formatBytes } from '../base/bytes.ts'
import { usedBytes } from '../model/cache-usage.ts'
import { listCachedModels, type CachedModel } from '../model/model-cache.ts'
import type { Context } from './context.ts'

export interface ModelsFlags {
  json?: unknown
}

export async function runModels(flags: ModelsFlags, context: Context): Promise<void> {
  const { cache } = context.paths
  const models = await listCachedModels(cache)
  const used = await usedBytes(cache)
  const text =
    flags.json === true
      ? `${JSON.stringify(report(models, used, cache), undefined, 2)}\n`
      : table(models, used, cache)
  process.stdout.write(text)
}

function report(models: readonly CachedModel[], used: number, cache: string): object {
  return {
    folder: cache,
    bytes: used,
    models: models.map(({ name, heldBytes, totalBytes, files }) => ({
      model: name,
      bytes: heldBytes,
      ofBytes: totalBytes,
      files: files.map((file) => ({
        path: file.path,
        hash: file.hash,
        bytes: file.heldBytes,
        ofBytes: file.sizeBytes
      }))
    }))
  }
}

export function table(models: readonly CachedModel[], used: number, cache: string): string {
  if (models.length === 0) return `No models in ${cache}\n`
  const rows = models.map(({ name, heldBytes, totalBytes }) => [
    name,
    formatBytes(heldBytes),
    heldBytes === totalBytes
      ? 'whole'
      : `${((100 * heldBytes) / totalBytes).toFixed(1)} % of ${formatBytes(totalBytes)}`
  ])
  const widths = [0, 1].map((i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)))
  const lines = rows.map(([name = '', held = '', share = '']) => {
    return `${name.padEnd(widths[0] ?? 0)}  ${held.padStart(widths[1] ?? 0)}  ${share}\n`
  })
  return `${lines.join('')}${formatBytes(used)} in ${cache}\n`
}
