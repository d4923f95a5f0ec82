// What guesses tokens for an answer: the text itself, and a small local model with the same
// vocabulary, given by name or found in the cache once trips through the swarm are long enough for
// it to pay.
import { badInput, toAppError } from '../../base/errors.ts'
import { silentLog } from '../../base/log.ts'
import { noProgress, type Progress } from '../../base/progress.ts'
import type { ComputeApi } from '../../blocks/types.ts'
import { AutoDrafter, mayPay, type OwnedDrafter } from '../../client/speculate/auto-draft.ts'
import { ModelDrafter, sharesVocabulary } from '../../client/speculate/draft-model.ts'
import type { Drafter } from '../../client/speculate/draft.ts'
import { NgramDrafter } from '../../client/speculate/ngram.ts'
import { listCachedModels, type CachedModel } from '../../model/store/model-cache.ts'
import { openModel } from '../../model/open-model.ts'
import { findModel } from '../../model/resolve.ts'
import type { Model } from '../../model/types.ts'
import type { Surroundings } from '../surroundings.ts'
import { hubOptions } from './hub-env.ts'
import { openNamedModel, type OpenModelOptions } from './model.ts'

export interface DraftOptions {
  /** A model's name, 'none', 'auto' for one of the cache, or false for no guesses at all. */
  draft: string | false
  /** What is guessed for, as it was typed. */
  name: string
  model: Model
  compute: ComputeApi
  context: Surroundings
  weights?: OpenModelOptions['weights']
  progress?: Progress | undefined
}

/** A cached model may be the draft if it is this many times smaller. */
const SMALLER = 3
/** Most models that are opened to compare their vocabulary. */
const MOST_LOOKED_AT = 8

/**
 * Drafters for a generator; `stack` closes them.
 * @throws AppError if the model that is named cannot be used
 */
export async function openDrafters(
  stack: AsyncDisposableStack,
  options: DraftOptions
): Promise<readonly Drafter[]> {
  const { draft: name, context, progress = noProgress } = options
  if (name === false) return []
  const text = new NgramDrafter()
  if (name === 'none') return [text]
  const draft =
    name === 'auto'
      ? new AutoDrafter({
          find: (tripMs) => findDraft(tripMs, options),
          onerror: (error) => context.log.debug(`no draft model: ${error.message}`)
        })
      : await openNamed(name, options)
  stack.use(draft)
  try {
    progress.stage(`loading ${name === 'auto' ? 'a small model' : name} to guess with`)
    await draft.ready()
  } finally {
    progress.done()
  }
  return [text, draft]
}

async function openNamed(name: string, options: DraftOptions): Promise<OwnedDrafter> {
  const { name: asked, model, context, weights, progress = noProgress } = options
  const draft = await openNamedModel(name, context, { need: 'facts', weights, progress })
  if (sharesVocabulary(model.tokenizer, draft.tokenizer)) return drafterOf(draft, options)
  draft.close()
  throw badInput(`'${name}' cannot guess for '${asked}': its tokens are others`, {
    hint: 'Name a smaller model of the same family, or --draft none'
  })
}

/** The largest cached model whose guesses may pay at trips of this length. */
async function findDraft(tripMs: number, options: DraftOptions): Promise<OwnedDrafter | undefined> {
  const { name, model, context } = options
  const models = await listCachedModels(context.paths.cache)
  for (const candidate of draftCandidates(models, weightBytes(model), tripMs)) {
    try {
      const draft = await openQuietly(candidate, context)
      if (sharesVocabulary(model.tokenizer, draft.tokenizer)) {
        context.log.debug(`'${candidate.name}' guesses for '${name}'`)
        return drafterOf(draft, options)
      }
      draft.close()
    } catch (error) {
      context.log.debug(`'${candidate.name}' cannot guess: ${toAppError(error).message}`)
    }
  }
  return undefined
}

/** Cached models that are complete, small enough, and may pay; the largest first. */
export function draftCandidates(
  models: readonly CachedModel[],
  targetBytes: number,
  tripMs: number
): CachedModel[] {
  return models
    .filter(({ heldBytes, totalBytes }) => heldBytes > 0 && heldBytes === totalBytes)
    .filter(({ totalBytes }) => totalBytes * SMALLER <= targetBytes && mayPay(totalBytes, tripMs))
    .sort((a, b) => b.totalBytes - a.totalBytes)
    .slice(0, MOST_LOOKED_AT)
}

function weightBytes(model: Model): number {
  return model.tensors.list().reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
}

/** Without a progress line, because an answer is being written. */
async function openQuietly(candidate: CachedModel, context: Surroundings): Promise<Model> {
  const { cache: cacheDir } = context.paths
  const [first] = candidate.files
  // A GGUF file is complete in itself; for others the hub's record says where the parts are.
  const word = first?.path.endsWith('.gguf') ? first.path : candidate.name
  const { location, fetcher } = await findModel(word, {
    cacheDir,
    hub: await hubOptions(context.env),
    log: silentLog,
    signal: context.signal
  })
  return await openModel(location, fetcher)
}

function drafterOf(draft: Model, { model, compute, context }: DraftOptions): ModelDrafter {
  return new ModelDrafter({
    compute,
    model: draft,
    vocabSize: model.config.vocabSize,
    onerror: (error) => context.log.debug(`the draft model is not asked any more: ${error.message}`)
  })
}
