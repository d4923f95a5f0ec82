// Makes text: feeds ids through the swarm, samples, streams, and keeps the ids so that the next
// turn costs only what is new. Knows no terminal; the swarm is a `Forward`.
import { systemClock, type Clock } from '../base/clock.ts'
import { badInput } from '../base/errors.ts'
import { Resource } from '../base/resource.ts'
import { createSampler, type SamplingOptions } from './sampler.ts'
import type { LocalModel } from './local-model.ts'
import type { ForwardOptions } from './session.ts'

/** What runs hidden states through the blocks: an InferenceSession. */
export interface Forward {
  reserve(maxTokens: number): void
  /** hidden (rows, hiddenSize) at `start` -> last answerRows rows */
  forward(start: number, hidden: Float32Array, options?: ForwardOptions): Promise<Float32Array>
}

export interface GenerateOptions extends SamplingOptions {
  /** New tokens at most. Default: until the model stops or its context is full. */
  maxTokens?: number
  signal?: AbortSignal | undefined
}

export type FinishReason = 'stop' | 'length' | 'context'

export interface GeneratedToken {
  readonly id: number
  /** Text that became certain with this token; may be empty while a character is incomplete. */
  readonly text: string
}

/** Where the time of one decode step went, ms. */
export interface StepTimes {
  embedMs: number
  /** Everything between handing rows to the swarm and having its answer. */
  swarmMs: number
  headMs: number
  sampleMs: number
}

export interface GenerationStats {
  promptTokens: number
  /** Prompt tokens that were still held from before and cost nothing. */
  reusedTokens: number
  newTokens: number
  /** From the call to the first token, ms. */
  firstTokenMs: number
  /** From the first token to the last, ms. */
  decodeMs: number
  finish: FinishReason
  /** One entry per decode step. */
  steps: StepTimes[]
}

// An answer of unknown length is promised this much; the session asks for more when it gets there.
const PROMISE_TOKENS = 512

/** A conversation's ids over one inference session. */
export class Generator extends Resource {
  /** Ids whose KV the servers hold, in order. */
  readonly fed: number[] = []
  stats: GenerationStats = emptyStats()
  readonly #model: LocalModel
  readonly #swarm: Forward
  readonly #clock: Clock

  constructor(model: LocalModel, swarm: Forward, options: { clock?: Clock } = {}) {
    super()
    this.#model = model
    this.#swarm = swarm
    this.#clock = options.clock ?? systemClock
  }

  /**
   * Continues `prompt`, which holds the whole conversation so far; what the servers already hold of
   * it is not sent again.
   * @throws AppError BAD_INPUT when the prompt is empty or over the context, or what a step throws
   */
  async *generate(
    prompt: readonly number[],
    options: GenerateOptions = {}
  ): AsyncGenerator<GeneratedToken, GenerationStats> {
    const { config, tokenizer } = this.#model
    const { signal } = options
    checkPrompt(prompt, config.contextLength)
    const room = config.contextLength - prompt.length
    const maxTokens = Math.min(options.maxTokens ?? room, room)
    const sampler = createSampler(options)
    const stream = tokenizer.stream({ after: prompt })
    const started = this.#clock.now()
    const stats = emptyStats()
    this.stats = stats
    stats.promptTokens = prompt.length
    stats.reusedTokens = Math.min(commonPrefix(this.fed, prompt), prompt.length - 1)
    this.fed.length = stats.reusedTokens
    this.#swarm.reserve(prompt.length + Math.min(maxTokens, PROMISE_TOKENS))
    const text = [...prompt]
    let next: readonly number[] = prompt.slice(stats.reusedTokens)
    let firstAt = started
    while (stats.newTokens < maxTokens) {
      const times: StepTimes = { embedMs: 0, swarmMs: 0, headMs: 0, sampleMs: 0 }
      const logits = await this.#logits(next, times, signal)
      const sampling = this.#clock.now()
      const id = sampler.next(logits, text)
      const now = this.#clock.now()
      times.sampleMs = now - sampling
      stats.newTokens++
      if (stats.newTokens === 1) {
        firstAt = now
        stats.firstTokenMs = now - started
      } else {
        stats.steps.push(times)
      }
      stats.decodeMs = now - firstAt
      if (this.#model.eosIds.has(id)) {
        stats.finish = 'stop'
        break
      }
      text.push(id)
      next = [id]
      yield { id, text: stream.push(id) }
    }
    if (stats.finish !== 'stop' && maxTokens === room) stats.finish = 'context'
    const rest = stream.end()
    if (rest) yield { id: text.at(-1) ?? 0, text: rest }
    return stats
  }

  protected override async _open(): Promise<void> {}
  protected override async _close(): Promise<void> {}

  /** Feeds ids behind what was fed and returns the logits after the last (vocabSize). */
  async #logits(
    ids: readonly number[],
    times: StepTimes,
    signal: AbortSignal | undefined
  ): Promise<Float32Array> {
    const t0 = this.#clock.now()
    const hidden = this.#model.embed(ids)
    const t1 = this.#clock.now()
    const answer = await this.#swarm.forward(this.fed.length, hidden, { answerRows: 1, signal })
    const t2 = this.#clock.now()
    for (const id of ids) this.fed.push(id)
    const logits = await this.#model.head(answer, signal)
    const t3 = this.#clock.now()
    times.embedMs = t1 - t0
    times.swarmMs = t2 - t1
    times.headMs = t3 - t2
    return logits
  }
}

function emptyStats(): GenerationStats {
  return {
    promptTokens: 0,
    reusedTokens: 0,
    newTokens: 0,
    firstTokenMs: 0,
    decodeMs: 0,
    finish: 'length',
    steps: []
  }
}

function checkPrompt(prompt: readonly number[], contextLength: number): void {
  if (prompt.length === 0) {
    throw badInput('There is nothing to continue: the prompt has no tokens', {
      hint: 'Give a prompt as an argument or through a pipe'
    })
  }
  if (prompt.length >= contextLength) {
    throw badInput(
      `The prompt is too long: ${prompt.length} tokens, the model takes ${contextLength}`,
      { hint: 'Shorten the text, or use a model with a longer context' }
    )
  }
}

/** How many leading ids two lists share. */
export function commonPrefix(a: readonly number[], b: readonly number[]): number {
  const most = Math.min(a.length, b.length)
  let length = 0
  while (length < most && a[length] === b[length]) length++
  return length
}
