// Guesses with a small model of the same vocabulary on this machine: its most probable tokens.
// Knows no swarm. If it fails it is not asked again, since guesses are optional.
import { systemClock, type Clock } from '../../base/clock.ts'
import { toAppError, type AppError } from '../../base/errors.ts'
import { Resource } from '../../base/resource.ts'
import type { ComputeApi, Quant } from '../../blocks/types.ts'
import type { Model, TokenizerSpec } from '../../model/types.ts'
import { DraftBlocks } from './draft-blocks.ts'
import { NO_DRAFT, type Draft, type Drafter } from './draft.ts'
import { commonPrefix } from '../text/generate.ts'
import { LocalModel } from '../text/local-model.ts'
import { argmax } from '../text/sampler.ts'

export interface ModelDrafterOptions {
  compute: ComputeApi
  /** The drafter closes it. */
  model: Model
  /** How its weights are held. Default 'native'. */
  quant?: Quant
  /**
   * Size of the vocabulary of the model that it guesses for; some heads have more rows than tokens.
   * Default: its own.
   */
  vocabSize?: number
  clock?: Clock
  /** Called with the reason if it is not used any more. */
  onerror?: (error: AppError) => void
}

// Weight of a new measurement in the moving average.
const ALPHA = 0.1
// The first steps build graphs and are not timed.
const WARM_UP_STEPS = 3
/** A price at which no guess ever pays, ms. */
export const NEVER_MS = 1e9
// More new text, i.e. a prompt, is read while trips are under way, so that no trip waits for all of
// it.
const MOST_BEHIND = 32
// Rows of new text that are read at a time, and only while a trip is under way: the head must wait
// for them.
const CATCH_UP_ROWS = 16
const TRIP_SHARE = 0.6

export class ModelDrafter extends Resource implements Drafter {
  readonly name = 'model'
  readonly #options: ModelDrafterOptions
  readonly #clock: Clock
  readonly #local: LocalModel
  readonly #blocks: DraftBlocks
  /** Ids whose KV the blocks hold. */
  readonly #fed: number[] = []
  #guessMs = NEVER_MS
  #failed = false
  /** Reading of new text in progress. */
  #catching: Promise<void> | undefined
  /** Duration of the last trip. */
  #tripMs = 0

  constructor(options: ModelDrafterOptions) {
    super()
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#local = new LocalModel(options)
    this.#blocks = new DraftBlocks(options)
  }

  get guessMs(): number {
    return this.#failed || this.closing ? NEVER_MS : this.#guessMs
  }

  /** What is shared with the previous text stays; what is new is read with the first guess. */
  begin(): void {}

  ontrip(ms: number): void {
    this.#tripMs = ms
  }

  async draft(ids: readonly number[], most: number, signal?: AbortSignal): Promise<Draft> {
    const { contextLength, vocabSize } = this.#local.config
    const fits = ids.length + most <= contextLength && ids.every((id) => id < vocabSize)
    if (!this.opened || this.closing || this.#failed || !fits || most <= 0) return NO_DRAFT
    if (this.#catching) return NO_DRAFT
    if (ids.length - commonPrefix(this.#fed, ids) > MOST_BEHIND) {
      this.#catching = this.#catchUp(ids).finally(() => {
        this.#catching = undefined
      })
      return NO_DRAFT
    }
    try {
      const guess = [await this.#next(ids, signal)]
      const started = this.#clock.now()
      while (guess.length < most && this.#isKnown(guess.at(-1))) {
        guess.push(await this.#next([...ids, ...guess], signal))
      }
      if (guess.length > 1) this.#note((this.#clock.now() - started) / (guess.length - 1))
      return { ids: this.#isKnown(guess.at(-1)) ? guess : guess.slice(0, -1), matched: 0 }
    } catch (error) {
      // The trip that follows reports the cancellation itself.
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
    await this.#catching
    await this.#blocks.close()
    await this.#local.close()
  }

  /** Whether the model that is guessed for has this id too. */
  #isKnown(id: number | undefined): boolean {
    return id !== undefined && id < (this.#options.vocabSize ?? this.#local.config.vocabSize)
  }

  /** Reads as much of the new part of `ids` as a trip leaves time for, at least a few rows. */
  async #catchUp(ids: readonly number[]): Promise<void> {
    const began = this.#clock.now()
    try {
      for (let lastMs = 0, now = began; !this.closing;) {
        if (now > began && now - began + lastMs > TRIP_SHARE * this.#tripMs) return
        const start = commonPrefix(this.#fed, ids)
        const added = ids.slice(start, Math.min(start + CATCH_UP_ROWS, ids.length - 1))
        if (added.length === 0) return
        await this.#feed(start, added)
        lastMs = this.#clock.now() - now
        now += lastMs
      }
    } catch (error) {
      this.#fail(toAppError(error))
    }
  }

  /** Feeds the new part of `ids`; returns the most probable next id. */
  async #next(ids: readonly number[], signal?: AbortSignal): Promise<number> {
    const start = Math.min(commonPrefix(this.#fed, ids), ids.length - 1)
    return argmax(await this.#local.head(await this.#feed(start, ids.slice(start), signal), signal))
  }

  /** Returns the row of the last of `added`. */
  async #feed(
    start: number,
    added: readonly number[],
    signal?: AbortSignal
  ): Promise<Float32Array> {
    this.#fed.length = start
    const hidden = this.#local.embed(added, start)
    const { output: last } = await this.#blocks.forward(start, hidden, { answerRows: 1, signal })
    this.#fed.push(...added)
    return last
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
