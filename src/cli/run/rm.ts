// `petals rm MODEL`: removes from the cache what no other model there is made of, and what was
// converted of it.
import { resolve } from 'node:path'
import { formatBytes } from '../../base/bytes.ts'
import { convertedOf, listConverted, removeConverted } from '../../model/store/converted-cache.ts'
import { findCachedModels, removeCachedModels } from '../../model/store/model-cache.ts'
import type { Context } from '../context.ts'

export async function runRm(name: string, context: Context): Promise<void> {
  const { cache } = context.paths
  // Of a file or folder elsewhere, only what was converted lies here.
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
