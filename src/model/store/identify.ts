// Finds a model's content id without hashing its files each time and without blocking the event
// loop. content-id.ts defines the id; file-hashes.ts remembers hashes.
import { cancelled } from '../../base/errors.ts'
import { contentIdFrom, hashSteps, setContentId } from './content-id.ts'
import { fileState, recallHash, rememberHash } from './file-hashes.ts'
import type { Model, WeightFile } from '../types.ts'

export interface IdentifyOptions {
  /** `Paths.cache`. Default: nothing is remembered. */
  cacheDir?: string
  signal?: AbortSignal
  /** Called while hashing, which takes 1 to 2 s per GB. */
  onprogress?: (progress: { doneBytes: number; totalBytes: number }) => void
}

/** `model.contentId`, without blocking the event loop. @throws AppError CANCELLED, CORRUPT */
export async function identifyModel(
  model: Model,
  options: IdentifyOptions = {}
): Promise<Uint8Array> {
  const { cacheDir } = options
  const hashes = new Map<WeightFile, string>()
  for (const file of model.files) {
    const hash =
      file.claimedSha256 ??
      (cacheDir === undefined ? undefined : await recallHash(file.path, cacheDir))
    if (hash !== undefined) hashes.set(file, hash)
  }
  const rest = model.files.filter((file) => !hashes.has(file))
  const totalBytes = rest.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  let doneBytes = 0
  for (const file of rest) {
    const before = await fileState(file.path)
    const hash = await hashFile(file, options, (bytes) => {
      doneBytes += bytes
      options.onprogress?.({ doneBytes, totalBytes })
    })
    hashes.set(file, hash)
    if (cacheDir !== undefined) await rememberHash(file.path, hash, cacheDir, before)
  }
  const id = contentIdFrom(model.config, [...hashes.values()])
  setContentId(model.tensors, id)
  return id
}

async function hashFile(
  file: WeightFile,
  options: IdentifyOptions,
  onbytes: (bytes: number) => void
): Promise<string> {
  const steps = hashSteps(file)
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
    onbytes(step.value)
    await new Promise((resolve) => setImmediate(resolve))
    if (options.signal?.aborted) throw cancelled('Hashing the model was cancelled')
  }
}
