// `petals rm MODEL`: removes files that no other cached model needs, and converted weights.
import { resolve } from 'node:path'
import { formatBytes } from '../../base/bytes.ts'
import { convertedOf, listConverted, removeConverted } from '../../model/store/converted-cache.ts'
import { findCachedModels, removeCachedModels } from '../../model/store/model-cache.ts'
import type { Context } from '../context.ts'

export async function runRm(name: string, context: Context): Promise<void> {
  const { cache } = context.paths
  // Of a file or folder outside the cache, only converted weights are here.
  const converted = convertedOf(listConverted(cache), [resolve(name)])
  if (converted.length > 0) {
    const freed = removeConverted(converted)
    context.log.info(`removed what was converted of ${name}: ${formatBytes(freed)}`)
    return
  }
  const models = await findCachedModels(cache, name)
  const freed = await removeCachedModels(cache, models)
  context.log.info(`removed ${models.map((model) => model.name).join(', ')}: ${formatBytes(freed)}`)
}
