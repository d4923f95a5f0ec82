// Finds or fetches a model by its name and opens it, as far as it is needed.
import { formatBytes, toHex } from '../../base/bytes.ts'
import { noProgress, type Progress } from '../../base/progress.ts'
import { clientTensorNames } from '../../model/needed-tensors.ts'
import { openModel } from '../../model/open-model.ts'
import { findModel } from '../../model/resolve.ts'
import { readTemplate, withTemplate } from '../../model/text/choose-template.ts'
import { keepsSecrets } from '../../model/hub/hub.ts'
import { identifyModel } from '../../model/store/identify.ts'
import type { Model } from '../../model/types.ts'
import type { WeightExchange } from '../../weights/weight-exchange.ts'
import type { Surroundings } from '../surroundings.ts'
import { hubOptions } from './hub-env.ts'
import { transferLine } from './transfer-line.ts'

/**
 * What is needed of a model at once: 'facts' is config, tokenizer and content id, 'client' also
 * embedding, norm and head. A server fetches its blocks when it knows which.
 */
export type Need = 'facts' | 'client'

export interface OpenModelOptions {
  need: Need
  /** Most that all models in the cache may take. Default: what is free. */
  diskBytes?: number | undefined
  /** Peers to fetch from. Default: nobody but the model's own source. */
  weights?: WeightExchange | undefined
  /** Roots of manifests that alone are believed of peers. */
  roots?: readonly string[] | undefined
  /** A chat template in place of the files' own: a file, or the name of a known one. */
  chatTemplate?: string | undefined
  /** Told what others may call a model, and whether that is known from peers alone. */
  onword?: (word: string, isUnverified: boolean) => void
  /** Shows transfers. Default: nothing. */
  progress?: Progress
}

/** @throws AppError as the model cannot be found, fetched or read */
export async function openNamedModel(
  name: string,
  context: Surroundings,
  options: OpenModelOptions
): Promise<Model> {
  const { paths, signal, log } = context
  const { diskBytes, progress = noProgress, chatTemplate } = options
  const template = chatTemplate === undefined ? undefined : readTemplate(chatTemplate)
  let model: Model | undefined
  try {
    const onprogress = transferLine(progress, name)
    progress.stage(`opening ${name}`)
    const hub = await hubOptions(context.env)
    if (hub.token !== undefined && !keepsSecrets(hub)) {
      log.warn(`HF_TOKEN is not sent to '${hub.endpoint}': it would go there in plain text`)
    }
    const { location, fetcher, word, isUnverified, confirm } = await findModel(name, {
      cacheDir: paths.cache,
      hub,
      log,
      signal,
      diskBytes,
      onprogress,
      peers: options.weights?.peers,
      roots: options.roots
    })
    model = withTemplate(await openModel(location, fetcher), {
      name,
      template,
      onguess: (known) =>
        log.warn(`${name} has no chat template: '${known}' is used (--chat-template FILE|NAME)`)
    })
    log.debug(`${name} calls itself '${model.config.name}'`)
    await identifyModel(model, {
      cacheDir: paths.cache,
      signal,
      onprogress: ({ doneBytes, totalBytes }) =>
        progress.update(`hashing: ${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`)
    })
    await confirm?.(toHex(model.contentId))
    if (word !== undefined) options.onword?.(word, isUnverified ?? false)
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
