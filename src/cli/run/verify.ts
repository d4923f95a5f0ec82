// `petals verify MODEL`: checks cached files against their hashes, and removes what is damaged.
import { resolve } from 'node:path'
import { formatBytes, toHex } from '../../base/bytes.ts'
import { stderrProgress } from '../terminal/stderr.ts'
import {
  type ConvertedModel,
  convertedOf,
  listConverted,
  removeConverted,
  verifyConverted
} from '../../model/store/converted-cache.ts'
import { rememberHash } from '../../model/store/file-hashes.ts'
import { sha256File } from '../../model/store/hash-file.ts'
import { identifyModel } from '../../model/store/identify.ts'
import { manifestOf, manifestRoot } from '../../model/store/manifest.ts'
import { findCachedModels } from '../../model/store/model-cache.ts'
import { openModel } from '../../model/open-model.ts'
import { resolveModel } from '../../model/resolve.ts'
import type { WeightFile } from '../../model/types.ts'
import { verifyFile } from '../../model/store/verify-cache.ts'
import type { Context } from '../context.ts'
import { EXIT } from '../exit.ts'
import { transferLine } from '../../library/open/transfer-line.ts'

/** Returns the exit code: 0, or 4 if something was damaged. */
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
  const converted = convertedOf(
    listConverted(paths.cache),
    files.map((file) => file.path)
  )
  const totalBytes =
    files.reduce((sum, file) => sum + file.heldBytes, 0) +
    converted.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  const progress = stderrProgress()
  const show = transferLine(progress, `checking ${name}`)
  let doneBytes = 0
  const onbytes = (bytes: number): void => {
    doneBytes += bytes
    show({ doneBytes, totalBytes })
  }
  let damaged = 0
  try {
    for (const file of files) {
      if (file.heldBytes === 0) continue
      const result = await verifyFile(file, { signal, onbytes })
      if (result.isWhole && file.hash.length === 64) {
        await rememberHash(file.path, file.hash, paths.cache)
      }
      if (result.damagedBytes === 0) continue
      damaged += result.damagedBytes
      progress.done()
      log.warn(
        `'${file.path}': ${formatBytes(result.damagedBytes)} were damaged and are thrown away`
      )
      // It may have been made from damaged bytes.
      removeConverted(convertedOf(converted, [file.path]))
    }
    damaged += await verifyAll(converted, context, { onbytes, onbad: () => progress.done() })
  } finally {
    progress.done()
  }
  if (damaged > 0) {
    log.error(`${name} was damaged: ${formatBytes(damaged)} of ${formatBytes(totalBytes)}`)
    log.info(`  It is fetched again when it is needed, or now with petals pull ${name}`)
    return EXIT.corrupt
  }
  log.info(`${name} is as it should be: ${formatBytes(totalBytes)} checked`)
  const unverified = files.reduce((sum, file) => sum + file.unverifiedBytes, 0)
  if (unverified > 0) {
    log.info(`  ${formatBytes(unverified)} are as peers gave them, which only the whole can prove`)
  }
  if (files.every((file) => file.heldBytes === file.sizeBytes)) await tellManifest(files, context)
  return EXIT.ok
}

/**
 * Prints the value for --manifest, with which a newcomer believes peers that have these very files.
 */
async function tellManifest(
  files: readonly { path: string; hash: string; sizeBytes: number }[],
  context: Context
): Promise<void> {
  const { paths, signal, log } = context
  const roots: string[] = []
  for (const { path, hash, sizeBytes } of files) {
    const sha256 = hash.length === 64 ? hash : await sha256File(path, signal)
    const map = await manifestOf({ path, sha256, sizeBytes }, { cacheDir: paths.cache, signal })
    roots.push(toHex(manifestRoot(map)))
  }
  if (roots.length > 0) log.info(`  manifest ${roots.join(',')}`)
}

/**
 * Checks converted weights; returns how many bytes were damaged. They are made again when needed.
 */
async function verifyAll(
  converted: readonly ConvertedModel[],
  { signal, log }: Context,
  on: { onbytes?: (bytes: number) => void; onbad?: () => void }
): Promise<number> {
  let damaged = 0
  for (const { path, sizeBytes } of converted.flatMap((model) => model.files)) {
    if (!(await Bun.file(path).exists())) continue
    const { onbytes } = on
    if (await verifyConverted(path, { signal, ...(onbytes ? { onbytes } : {}) })) continue
    damaged += sizeBytes
    on.onbad?.()
    log.warn(`'${path}': ${formatBytes(sizeBytes)} of converted weights are thrown away`)
  }
  return damaged
}

/** A path has no hash to compare with: its header is read and its id shown. */
async function verifyPath(path: string, context: Context): Promise<number> {
  const { paths, signal, log } = context
  const model = await openModel(await resolveModel(path, { cacheDir: paths.cache, signal, log }))
  try {
    const id = await identifyModel(model, { signal })
    log.info(`${path} is a ${model.config.family} model of ${model.config.blockCount} blocks`)
    log.info(`  content id ${toHex(id)}; there is no hash that it must have`)
    const isShared = model.location.kind !== 'llama2c'
    const files = model.files.map((file) => ({ ...factsOf(file), hash: '' }))
    if (isShared) await tellManifest(files, context)
    const converted = convertedOf(listConverted(paths.cache), [resolve(path)])
    if (converted.length === 0) return EXIT.ok
    const damaged = await verifyAll(converted, context, {})
    if (damaged > 0) return EXIT.corrupt
    const bytes = converted.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    log.info(`  ${formatBytes(bytes)} converted of it are as they should be`)
    return EXIT.ok
  } finally {
    model.close()
  }
}

function factsOf({ path, sizeBytes }: WeightFile): Pick<WeightFile, 'path' | 'sizeBytes'> {
  return { path, sizeBytes }
}
