// Opens what a command needs: the model from its name, the compute worker with its library.
import { formatBytes } from '../base/bytes.ts'
import { embedded } from '../base/embedded.ts'
import { unpackNativeSet } from '../base/native-files.ts'
import { createProgress } from '../base/progress.ts'
import { Compute } from '../blocks/compute.ts'
import type { Device } from '../blocks/types.ts'
import { identifyModel } from '../model/identify.ts'
import { openModel } from '../model/open-model.ts'
import { resolveModel } from '../model/resolve.ts'
import type { Model } from '../model/types.ts'
import type { Context } from './context.ts'
import { parseBytes, parseChoice, parseWhole } from './options.ts'

export interface EngineOptions {
  threads?: unknown
  device?: unknown
  memory?: unknown
}

/** Finds or fetches a model and opens it. @throws AppError */
export async function openNamedModel(name: string, context: Context): Promise<Model> {
  const { env, paths, signal, log } = context
  const progress = createProgress()
  const hub = {
    ...(env['HF_ENDPOINT'] ? { endpoint: env['HF_ENDPOINT'] } : {}),
    ...(env['HF_TOKEN'] ? { token: env['HF_TOKEN'] } : {}),
    ...(env['HF_HOME'] ? { home: env['HF_HOME'] } : {})
  }
  try {
    const location = await resolveModel(name, {
      cacheDir: paths.cache,
      hub,
      log,
      signal,
      onprogress: ({ what, doneBytes, totalBytes }) =>
        progress.update(`${what}: ${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`)
    })
    const model = await openModel(location)
    await identifyModel(model, {
      cacheDir: paths.cache,
      signal,
      onprogress: ({ doneBytes, totalBytes }) =>
        progress.update(`hashing: ${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`)
    })
    return model
  } finally {
    progress.done()
  }
}

/** Starts the compute worker; the caller closes it. @throws AppError */
export async function startCompute(options: EngineOptions, context: Context): Promise<Compute> {
  const threads = parseWhole('threads', options.threads, 1, 1024)
  const device = parseChoice<Device>('device', options.device, ['cpu', 'cuda', 'webgpu'])
  const memoryBytes = parseBytes('memory', options.memory)
  const compute = new Compute({
    ...(embedded ? { libraryDir: unpackNativeSet(embedded.onnxruntime, context.paths.cache) } : {}),
    ...(threads === undefined ? {} : { threads }),
    ...(device === undefined ? {} : { device }),
    ...(memoryBytes === undefined ? {} : { memoryBytes })
  })
  await compute.ready()
  return compute
}
