// What guesses tokens for a chat: the text itself, and a small local model with the same
// vocabulary, given by --draft or found in the cache once trips through the swarm are long enough
// for it to pay.
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
/** A cached model may be the draft if it is this many times smaller. */
const SMALLER = 3
/** Most models that are opened to compare their vocabulary. */
const MOST_LOOKED_AT = 8

/**
 * The value of --draft: a model, 'none', or undefined for whatever the cache has.
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
 * @throws AppError if --draft's model cannot be used
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
    progress.update(`loading ${name ?? 'a small model'} to guess with`)
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
async function openQuietly(candidate: CachedModel, context: Context): Promise<Model> {
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
