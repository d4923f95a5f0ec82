// Who guesses tokens for a chat: the text itself, and a small model on this machine with the same
// tokens, named with --draft or found in the cache when trips through the swarm are long enough for
// it to pay.
import { badInput, toAppError } from '../../base/errors.ts'
import { silentLog } from '../../base/log.ts'
import { stderrProgress } from '../terminal/stderr.ts'
import type { ComputeApi } from '../../blocks/types.ts'
import { AutoDrafter, mayPay, type OwnedDrafter } from '../../client/speculate/auto-draft.ts'
import { ModelDrafter, sharesVocabulary } from '../../client/speculate/draft-model.ts'
import type { Drafter } from '../../client/speculate/draft.ts'
import { NgramDrafter } from '../../client/speculate/ngram.ts'
import { listCachedModels, type CachedModel } from '../../model/store/model-cache.ts'
import { openModel } from '../../model/open-model.ts'
import { findModel } from '../../model/resolve.ts'
import type { Model } from '../../model/types.ts'
import type { Context } from '../context.ts'
import { openNamedModel, type OpenOptions } from '../engine.ts'
import { hubOptions } from '../../library/open/hub-env.ts'

export interface DraftFlags {
  draft?: string | undefined
  speculate?: boolean | undefined
}

export interface DraftOptions {
  flags: DraftFlags
  /** What is guessed for, as it was typed. */
  name: string

  model: Model
  compute: ComputeApi
  context: Context
  weights?: OpenOptions['weights']
}

const NONE = 'none'
/** A model of the cache is taken for a draft when it is so many times smaller. */
const SMALLER = 3
/** So many models are opened to look at their tokens. */
const MOST_LOOKED_AT = 8

/**
 * What --draft says: a model, 'none', or undefined for what the cache has.
 * @throws AppError BAD_INPUT
 */
export function draftName({ draft, speculate }: DraftFlags): string | undefined {
  const name = draft === undefined ? undefined : String(draft)
  if (name !== undefined && name !== NONE && speculate === false) {
    throw badInput('--draft and --no-speculate exclude each other', {
      hint: 'Leave one of them out'
    })
  }
  return name
}

/**
 * Drafters for a generator; `stack` closes them.
 * @throws AppError when --draft's model cannot be used
 */
export async function openDrafters(
  stack: AsyncDisposableStack,
  options: DraftOptions
): Promise<readonly Drafter[]> {
  const name = draftName(options.flags)
  if (options.flags.speculate === false) return []
  const text = new NgramDrafter()
  if (name === NONE) return [text]
  const draft =
    name === undefined
      ? new AutoDrafter({
          find: (tripMs) => findDraft(tripMs, options),
          onerror: (error) => options.context.log.debug(`no draft model: ${error.message}`)
        })
      : await openNamed(name, options)
  stack.use(draft)
  const progress = stderrProgress()
  try {
    progress.update(`loading ${name ?? 'nothing'} to guess with`)
    await draft.ready()
  } finally {
    progress.done()
  }
  return [text, draft]
}

async function openNamed(name: string, options: DraftOptions): Promise<OwnedDrafter> {
  const { name: asked, model, context, weights } = options
  const draft = await openNamedModel(name, context, { need: 'facts', weights })
  if (sharesVocabulary(model.tokenizer, draft.tokenizer)) return drafterOf(draft, options)
  draft.close()
  throw badInput(`'${name}' cannot guess for '${asked}': its tokens are others`, {
    hint: 'Name a smaller model of the same family, or --draft none'
  })
}

/** The largest model of the cache whose guesses may pay at trips of so many ms. */
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

/**
 * Of the models of a cache those that are whole, small enough, and worth their time; the largest
 * first.
 */
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

/** Without a progress line: an answer is being written. */
async function openQuietly(candidate: CachedModel, context: Context): Promise<Model> {
  const { cache: cacheDir } = context.paths
  const [first] = candidate.files
  // A GGUF file tells everything itself; of others the hub's record says where its parts are.
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
