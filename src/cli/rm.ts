// `petals rm MODEL`: removes from the cache what no other model there is made of.
import { formatBytes } from '../base/bytes.ts'
import { findCachedModels, removeCachedModels } from '../model/model-cache.ts'
import type { Context } from './context.ts'

export async function runRm(name: string, context: Context): Promise<void> {
  const { cache } = context.paths
  const models = await findCachedModels(cache, name)
  const freed = await removeCachedModels(cache, models)
  context.log.info(`removed ${models.map((model) => model.name).join(', ')}: ${formatBytes(freed)}`)
}
