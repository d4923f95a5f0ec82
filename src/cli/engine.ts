// Opens what a command needs: the model from its name, the compute worker with its library.
import { accessSync, constants, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formatBytes, toHex } from '../base/bytes.ts'
import { embedded } from '../base/embedded.ts'
import { unpackNativeSet } from '../base/files/native-files.ts'
import { stderrProgress } from './terminal/stderr.ts'
import { Compute } from '../blocks/compute.ts'
import type { Device } from '../blocks/types.ts'
import { identifyModel } from '../model/store/identify.ts'
import { clientTensorNames } from '../model/needed-tensors.ts'
import { openModel } from '../model/open-model.ts'
import { findModel } from '../model/resolve.ts'
import type { Model } from '../model/types.ts'
import type { WeightExchange } from '../weights/weight-exchange.ts'
import type { Context } from './context.ts'
import { cudaRoot } from './doctor/cuda-root.ts'
import { hubOptions } from './hub-env.ts'
import { parseBytes, parseChoice, parseWhole } from './options.ts'
import { transferLine } from './transfer-line.ts'

export interface EngineOptions {
  threads?: string | undefined
  device?: string | undefined
  memory?: string | undefined
  /** --disk: most that models and what was converted of them may take in the cache. */
  disk?: string | undefined
}

/**
 * What a command needs of a model at once: 'facts' is config, tokenizer and content id, 'client'
 * also embedding, norm and head. A server fetches its blocks when it knows which.
 */
export type Need = 'facts' | 'client'

export interface OpenOptions {
  need: Need
  /** --disk: most that all models in the cache may take, e.g. 100g. */
  disk?: string | undefined
  /** Peers to fetch from. Default: nobody but the model's own source. */
  weights?: WeightExchange | undefined
  /** Roots of manifests that alone are believed of peers. */
  roots?: readonly string[] | undefined
  /** Told what others may call a model, and whether that is known from peers alone. */
  onword?: (word: string, isHeard: boolean) => void
}

/** Finds or fetches a model, as far as it is needed, and opens it. @throws AppError */
export async function openNamedModel(
  name: string,
  context: Context,
  options: OpenOptions
): Promise<Model> {
  const { paths, signal, log } = context
  const diskBytes = parseBytes('disk', options.disk)
  const progress = stderrProgress()
  let model: Model | undefined
  try {
    const onprogress = transferLine(progress, name)
    progress.update(`${name}: looking`)
    const { location, fetcher, word, isHeard, confirm } = await findModel(name, {
      cacheDir: paths.cache,
      hub: await hubOptions(context.env),
      log,
      signal,
      diskBytes,
      onprogress,
      peers: options.weights?.peers,
      roots: options.roots
    })
    model = await openModel(location, fetcher)
    await identifyModel(model, {
      cacheDir: paths.cache,
      signal,
      onprogress: ({ doneBytes, totalBytes }) =>
        progress.update(`hashing: ${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`)
    })
    await confirm?.(toHex(model.contentId))
    if (word !== undefined) options.onword?.(word, isHeard ?? false)
    if (options.need === 'client') {
      await model.ensure(clientTensorNames(model.tensors), { signal, onprogress })
    }
    return model
  } catch (error) {
    model?.close()
    throw error
  } finally {
    progress.done()
  }
}

/** Starts the compute worker; the caller closes it. @throws AppError */
export async function startCompute(options: EngineOptions, context: Context): Promise<Compute> {
  const threads = parseWhole('threads', options.threads, 1, 1024)
  const device = parseChoice<Device>('device', options.device, ['cpu', 'cuda', 'webgpu'])
  const memoryBytes = parseBytes('memory', options.memory)
  const { cache } = context.paths
  const keep = { cacheDir: cache, diskBytes: parseBytes('disk', options.disk) }
  const compute = new Compute({
    ...nativeFolders(device, cache),
    cudaDir: cudaRoot(context.paths),
    ...(threads === undefined ? {} : { threads }),
    ...(device === undefined ? {} : { device }),
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    keep,
    scratchDir: scratchFolder(cache),
    onwarn: (text) => context.log.warn(text)
  })
  await compute.ready()
  return compute
}

/** Where an executable's own libraries lie: those that the device needs, unpacked on first use. */
function nativeFolders(
  device: Device | undefined,
  cache: string
): { kernelDir?: string; libraryDir?: string } {
  if (embedded === undefined) return {}
  if (device === undefined || device === 'cpu') {
    return { kernelDir: unpackNativeSet(embedded.kernels, cache) }
  }
  return { libraryDir: unpackNativeSet(embedded.onnxruntime, cache) }
}

/**
 * Not the system's folder for temporary files: where that lies in memory, weights would be there
 * twice. But that, where the cache cannot be written.
 */
function scratchFolder(cache: string): string {
  const folder = join(cache, 'scratch')
  try {
    mkdirSync(folder, { recursive: true })
    accessSync(folder, constants.W_OK)
    return folder
  } catch {
    return tmpdir()
  }
}
