// `petals rm MODEL`: removes files that no other cached model needs, and converted weights.
// On a terminal it asks first.
import { resolve } from 'node:path'
import { formatBytes } from '../../base/bytes.ts'
import { inUse } from '../../base/errors.ts'
import { convertedOf, listConverted, removeConverted } from '../../model/store/converted-cache.ts'
import { findCachedModels, removeCachedModels } from '../../model/store/model-cache.ts'
import type { Context } from '../context.ts'
import { ask, canAsk } from '../terminal/ask.ts'

export interface RmFlags {
  yes?: boolean | undefined
}

export async function runRm(name: string, flags: RmFlags, context: Context): Promise<void> {
  const { cache } = context.paths
  // Of a file or folder outside the cache, only converted weights are here.
  const converted = convertedOf(listConverted(cache), [resolve(name)])
  if (converted.length > 0) {
    const bytes = converted.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    const what = `what was converted of ${name}, ${formatBytes(bytes)}`
    if (!(await mayRemove(what, false, flags, context))) return
    const freed = removeConverted(converted)
    context.log.info(`removed what was converted of ${name}: ${formatBytes(freed)}`)
    return
  }
  const models = await findCachedModels(cache, name)
  const names = models.map((model) => model.name).join(', ')
  const bytes = models.reduce((sum, model) => sum + model.heldBytes + model.convertedBytes, 0)
  const used = models.some((model) => model.isInUse)
  if (!(await mayRemove(`${names}, ${formatBytes(bytes)}`, used, flags, context))) return
  const freed = await removeCachedModels(cache, models)
  context.log.info(`removed ${names}: ${formatBytes(freed)}`)
}

/** @throws AppError IN_USE when a process has it open and nobody can be asked */
async function mayRemove(
  what: string,
  isUsed: boolean,
  { yes }: RmFlags,
  context: Context
): Promise<boolean> {
  if (yes === true) return true
  const use = isUsed ? ', which a process of this machine uses now' : ''
  if (canAsk()) {
    const answer = await ask(`Remove ${what}${use}? [y/N] `, context.signal)
    if (/^y(es)?$/i.test(answer ?? '')) return true
    context.log.info('nothing is removed')
    return false
  }
  if (!isUsed) return true
  throw inUse(`${what} cannot be removed: a process of this machine uses it`, {
    hint: 'Stop petals join or chat of this model first, or give --yes'
  })
}
