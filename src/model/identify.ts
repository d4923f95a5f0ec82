// A model's content id without hashing it each time: remembered beside path, size and time of its files.
// Whoever can write to the cache can lie about an id, so the cache is as private as the user's home.
import { randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { toHex } from '../base/bytes.ts'
import { cancelled } from '../base/errors.ts'
import { canonicalConfig, hashSteps, setContentId } from './content-id.ts'
import type { Model } from './types.ts'

export interface IdentifyOptions {
  /** `Paths.cache`. Default: nothing is remembered. */
  cacheDir?: string
  signal?: AbortSignal
  /** Told while hashing, which takes 1 to 2 s for a GB. */
  onprogress?: (progress: { doneBytes: number; totalBytes: number }) => void
}

/** `model.contentId`, without holding the event loop. @throws AppError CANCELLED, CORRUPT */
export async function identifyModel(
  model: Model,
  options: IdentifyOptions = {}
): Promise<Uint8Array> {
  const { cacheDir, signal, onprogress } = options
  const sidecar = cacheDir === undefined ? undefined : await sidecarPath(model, cacheDir)
  if (sidecar !== undefined) {
    const known = await readFile(sidecar, 'utf8').catch(() => '')
    if (/^[0-9a-f]{64}$/.test(known)) {
      const id = Uint8Array.fromHex(known)
      setContentId(model.tensors, id)
      return id
    }
  }
  const totalBytes = model.tensors.list().reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  const steps = hashSteps(model.config, model.tensors)
  for (let doneBytes = 0; ;) {
    const step = steps.next()
    if (step.done) {
      setContentId(model.tensors, step.value)
      if (sidecar !== undefined) await remember(sidecar, step.value)
      return step.value
    }
    doneBytes += step.value
    onprogress?.({ doneBytes, totalBytes })
    await new Promise((resolve) => setImmediate(resolve))
    if (signal?.aborted) throw cancelled('Hashing the model was cancelled')
  }
}

/** Named by a hash of everything that would change with the weights, as far as a look tells. */
async function sidecarPath(model: Model, cacheDir: string): Promise<string> {
  const hasher = new Bun.CryptoHasher('blake2b256')
  hasher.update(`petals-sidecar-1\n${model.location.kind}\n${canonicalConfig(model.config)}\n`)
  for (const path of await weightPaths(model)) {
    const { size, mtimeMs } = await stat(path)
    hasher.update(`${JSON.stringify([path, size, mtimeMs])}\n`)
  }
  return join(cacheDir, 'content-ids', hasher.digest('hex'))
}

async function weightPaths(model: Model): Promise<string[]> {
  const { kind, paths } = model.location
  const [first = ''] = paths
  if (kind === 'llama2c') return [first]
  if (kind === 'gguf') return [...paths]
  const names = (await readdir(first)).filter((name) => name.endsWith('.safetensors')).sort()
  return names.map((name) => join(first, name))
}

/** A cache that cannot be written costs the next start some time, and nothing else. */
async function remember(sidecar: string, id: Uint8Array): Promise<void> {
  const aside = `${sidecar}.${randomUUID()}`
  try {
    await mkdir(join(sidecar, '..'), { recursive: true })
    await writeFile(aside, toHex(id))
    await rename(aside, sidecar)
  } catch {
    // see above
  }
}
