// Guesses with a small model of the same vocabulary on this machine: what it thinks most probable.
// Knows no swarm. When it fails it is not asked again: guesses are never needed.
import { systemClock, type Clock } from '../base/clock.ts'
import { toAppError, type AppError } from '../base/errors.ts'
import { Resource } from '../base/resource.ts'
import type { ComputeApi, Quant } from '../blocks/types.ts'
import type { Model, TokenizerSpec } from '../model/types.ts'
import { DraftBlocks } from './draft-blocks.ts'
import { NO_DRAFT, type Draft, type Drafter } from './draft.ts'
import { commonPrefix } from './generate.ts'
import { LocalModel } from './local-model.ts'
import { argmax } from './sampler.ts'

export interface ModelDrafterOptions {
  compute: ComputeApi
  /** Closed with the drafter. */
  model: Model
  /** How its weights are held. Default 'native'. */
  quant?: Quant
  clock?: Clock
  /** Told why it is not asked any more. */
  onerror?: (error: AppError) => void
}

// Weight of a new reading in the moving average.
const ALPHA = 0.1
// The first steps build graphs; only then is a guess timed.
const WARM_UP_STEPS = 3
// No trip is so long that a guess at this price would pay.
const NEVER_MS = 1e9

export class ModelDrafter extends Resource implements Drafter {
  readonly name = 'model'
  readonly #options: ModelDrafterOptions
  readonly #clock: Clock
  readonly #local: LocalModel
  readonly #blocks: DraftBlocks
  /** Ids that the blocks hold. */
  readonly #fed: number[] = []
  #guessMs = NEVER_MS
  #failed = false

  constructor(options: ModelDrafterOptions) {
    super()
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#local = new LocalModel(options)
    this.#blocks = new DraftBlocks(options)
  }

  get guessMs(): number {
    return this.#failed ? NEVER_MS : this.#guessMs
  }

  /** What is shared with the text before stays; what is new is read with the first guess. */
  begin(): void {}

  async draft(ids: readonly number[], most: number, signal?: AbortSignal): Promise<Draft> {
    const { contextLength, vocabSize } = this.#local.config
    const fits = ids.length + most <= contextLength && ids.every((id) => id < vocabSize)
    if (!this.opened || this.#failed || !fits || most <= 0) return NO_DRAFT
    try {
      const guess = [await this.#next(ids, signal)]
      const started = this.#clock.now()
      while (guess.length < most) guess.push(await this.#next([...ids, ...guess], signal))
      if (most > 1) this.#note((this.#clock.now() - started) / (most - 1))
      return { ids: guess, matched: 0 }
    } catch (error) {
      // The trip that follows reports the cancelling itself.
      if (!signal?.aborted) this.#fail(toAppError(error))
      return NO_DRAFT
    }
  }

  protected override async _open(): Promise<void> {
    await Promise.all([this.#local.ready(), this.#blocks.ready()])
    const ids: number[] = []
    let ms = 0
    while (ids.length < WARM_UP_STEPS) {
      const started = this.#clock.now()
      ids.push(await this.#next(ids.length === 0 ? [0] : [0, ...ids]))
      ms = this.#clock.now() - started
    }
    this.#guessMs = Math.max(ms, Number.MIN_VALUE)
  }

  protected override async _close(): Promise<void> {
    await this.#blocks.close()
    await this.#local.close()
  }

  /** Feeds what is new of `ids`; the most probable id behind them. */
  async #next(ids: readonly number[], signal?: AbortSignal): Promise<number> {
    const start = Math.min(commonPrefix(this.#fed, ids), ids.length - 1)
    const added = ids.slice(start)
    this.#fed.length = start
    const hidden = this.#local.embed(added, start)
    const last = await this.#blocks.forward(start, hidden, { answerRows: 1, signal })
    this.#fed.push(...added)
    return argmax(await this.#local.head(last, signal))
  }

  #note(ms: number): void {
    this.#guessMs = Math.max(this.#guessMs + ALPHA * (ms - this.#guessMs), Number.MIN_VALUE)
  }

  #fail(error: AppError): void {
    this.#failed = true
    this.#options.onerror?.(error)
  }
}

/** Whether ids mean the same tokens in both, so that one model can guess for the other. */
export function sharesVocabulary(a: TokenizerSpec, b: TokenizerSpec): boolean {
  const [tokens, others] = [tokensOf(a), tokensOf(b)]
  if (tokens.size === 0 || tokens.size !== others.size) return false
  for (const [id, token] of tokens) if (others.get(id) !== token) return false
  return true
}

/** Tokens by id, whichever way the description lists them. */
function tokensOf(spec: TokenizerSpec): Map<number, string> {
  const tokens = new Map<number, string>()
  const { model, added_tokens: added } = spec.json as {
    model?: { vocab?: unknown }
    added_tokens?: unknown
  }
  const vocab = model?.vocab
  if (Array.isArray(vocab)) {
    for (const [id, entry] of vocab.entries()) tokens.set(id, String(entry?.[0]))
  } else if (typeof vocab === 'object' && vocab !== null) {
    for (const [token, id] of Object.entries(vocab)) tokens.set(Number(id), token)
  }
  if (Array.isArray(added)) {
    for (const entry of added) tokens.set(Number(entry?.id), String(entry?.content))
  }
  return tokens
}
