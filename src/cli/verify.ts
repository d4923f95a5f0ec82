// `petals verify MODEL`: checks what is in the cache against its hashes. What is damaged is thrown away.
import { formatBytes, toHex } from '../base/bytes.ts'
import { createProgress } from '../base/progress.ts'
import { rememberHash } from '../model/file-hashes.ts'
import { identifyModel } from '../model/identify.ts'
import { findCachedModels } from '../model/model-cache.ts'
import { openModel } from '../model/open-model.ts'
import { resolveModel } from '../model/resolve.ts'
import { verifyFile } from '../model/verify-cache.ts'
import type { Context } from './context.ts'
import { EXIT } from './exit.ts'
import { transferLine } from './transfer-line.ts'

/** Returns the exit code: 0, or 4 when something was damaged. */
export async function runVerify(name: string, context: Context): Promise<number> {
  const { paths, signal, log } = context
  if (
    await Bun.file(name)
      .stat()
      .then(
        () => true,
        () => false
      )
  )
    return await verifyPath(name, context)
  const files = (await findCachedModels(paths.cache, name)).flatMap((model) => model.files)
  const totalBytes = files.reduce((sum, file) => sum + file.heldBytes, 0)
  const progress = createProgress()
  const show = transferLine(progress, `checking ${name}`)
  let doneBytes = 0
  let damaged = 0
  try {
    for (const file of files) {
      if (file.heldBytes === 0) continue
      const result = await verifyFile(file, {
        signal,
        onbytes(bytes) {
          doneBytes += bytes
          show({ doneBytes, totalBytes })
        }
      })
      if (result.isWhole && file.hash.length === 64) {
        await rememberHash(file.path, file.hash, paths.cache)
      }
      if (result.damagedBytes === 0) continue
      damaged += result.damagedBytes
      progress.done()
      log.warn(
        `'${file.path}': ${formatBytes(result.damagedBytes)} were damaged and are thrown away`
      )
    }
  } finally {
    progress.done()
  }
  if (damaged > 0) {
    log.error(`${name} was damaged: ${formatBytes(damaged)} of ${formatBytes(totalBytes)}`)
    log.info(`  It is fetched again when it is needed, or now with petals pull ${name}`)
    return EXIT.corrupt
  }
  log.info(`${name} is as it should be: ${formatBytes(totalBytes)} checked`)
  return EXIT.ok
}

/** A path has no hash to be held to: its header is read, its id told. */
async function verifyPath(path: string, context: Context): Promise<number> {
  const { paths, signal, log } = context
  const model = await openModel(await resolveModel(path, { cacheDir: paths.cache, signal, log }))
  try {
    const id = await identifyModel(model, { signal })
    log.info(`${path} is a ${model.config.family} model of ${model.config.blockCount} blocks`)
    log.info(`  content id ${toHex(id)}; there is no hash that it must have`)
    return EXIT.ok
  } finally {
    model.close()
  }
}
