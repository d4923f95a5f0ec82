// Generates text: feeds ids through the swarm, samples, streams, and keeps the ids so that the next
// turn costs only what is new. Knows no terminal; the swarm is a `Forward`. A trip through the
// swarm also checks guessed ids (speculate.ts); the text is the same without.
import { systemClock, type Clock } from '../../base/clock.ts'
import { badInput, cancelled } from '../../base/errors.ts'
import type { Drafter } from '../speculate/draft.ts'
import type { LocalModel } from './local-model.ts'
import { NgramDrafter } from '../speculate/ngram.ts'
import type { LogitsProcessor } from './logits.ts'
import { createSampler, type Sampler, type SamplingOptions } from './sampler.ts'
import type { ForwardOptions, ForwardReport } from '../session/forward.ts'
import { guess } from '../speculate/speculate-guess.ts'
import { MOST_DRAFTED } from '../speculate/speculate-policy.ts'
import { Speculator, verify, type Speculation } from '../speculate/speculate.ts'

/** Runs hidden states through the blocks: an InferenceSession. */
export interface Forward {
  /** Positions that stand before the text, of an adapter's prompt. Default 0. */
  readonly virtualTokens?: number
  /** An answer has ended; `length` ids of the text were fed and are valid. */
  answerEnded?(length: number): void
  reserve(maxTokens: number): void
  /** Positions whose rows have passed all blocks and are held there. Default: nothing is known. */
  readonly heldTokens?: number
  /** hidden (rows, hiddenSize) at `start` -> last answerRows rows */
  forward(
    start: number,
    hidden: Float32Array,
    options?: ForwardOptions
  ): Promise<{ readonly output: Float32Array; readonly report?: ForwardReport }>
}

/** The client's own part of a model; a LocalModel is one. */
export type GeneratorModel = Pick<LocalModel, 'eosIds' | 'embed' | 'head'> & {
  readonly config: Pick<LocalModel['config'], 'contextLength'>
  readonly tokenizer: Pick<LocalModel['tokenizer'], 'stream'>
}

export interface GeneratorOptions {
  clock?: Clock
  /** Drafters; each trip uses the most promising one. Default: look-up in the text itself. */
  drafters?: readonly Drafter[]
  /** Decides how many guesses are sent. Default: learnt from trips and guesses so far. */
  speculation?: Speculation
}

export interface GenerateOptions extends SamplingOptions {
  /** Most new tokens. Default: until the model stops or its context is full. */
  maxTokens?: number
  /** Check guessed tokens; the text is the same, sooner. Default true. */
  speculate?: boolean
  /** Leave the texts of special tokens out. Default true. */
  skipSpecial?: boolean
  /** Texts of special tokens that are left in all the same: marks of calls. Default none. */
  shown?: readonly string[] | undefined
  /**
   * Ids of this answer that were generated before with the same options; they are returned first.
   */
  made?: readonly number[]
  /** Called with how much of the prompt has been computed, in tokens. */
  onprompt?: ((done: number, total: number) => void) | undefined
  /** Change logits before an id is drawn, in order; created for this answer alone. */
  processors?: readonly LogitsProcessor[]
  signal?: AbortSignal | undefined
}

export type FinishReason = 'stop' | 'length' | 'context'

export interface GeneratedToken {
  readonly id: number
  /** Text that became certain with this token; may be empty while a character is incomplete. */
  readonly text: string
}

/** Where the time of one decoding trip went, ms. */
export interface StepTimes {
  /** Guessing the tokens that were sent. */
  draftMs: number
  embedMs: number
  /** From handing rows to the swarm to having its answer. */
  swarmMs: number
  headMs: number
  sampleMs: number
}

export interface GenerationStats {
  promptTokens: number
  /**
   * Prompt tokens that servers still held, from this session or an earlier one, and that cost
   * nothing.
   */
  reusedTokens: number
  newTokens: number
  /** From the call to the first token, ms. */
  firstTokenMs: number
  /** From the first token to the last, ms. */
  decodeMs: number
  finish: FinishReason
  /** Trips through the swarm after the prompt's; each gave at least one token. */
  trips: number
  /** Guessed tokens that were sent. */
  drafted: number
  /** How many of those the model drew itself: tokens that cost no trip. */
  accepted: number
  /** The same by drafter. */
  sources: Record<string, { drafted: number; accepted: number }>
  /** One entry per trip after the prompt's. */
  steps: StepTimes[]
  /** What the last trip took in the swarm. */
  report?: ForwardReport
}

// Tokens promised for an answer of unknown length; the session asks for more when it gets there.
const PROMISE_TOKENS = 512
// Rows of logits at once: 32 rows of a vocabulary of 128,000 are 16 MiB.
const LOGIT_ROWS = 32

/** State of one call of generate() over its trips. */
interface Run {
  readonly text: number[]
  readonly sampler: Sampler
  readonly maxTokens: number
  readonly speculate: boolean
  readonly stats: GenerationStats
  readonly onprompt: GenerateOptions['onprompt']
  readonly signal: AbortSignal | undefined
}

/** A conversation's ids over one inference session. */
export class Generator {
  /** Ids whose KV the servers hold, in order. */
  readonly fed: number[] = []
  stats: GenerationStats = emptyStats()
  readonly #model: GeneratorModel
  readonly #swarm: Forward
  readonly #clock: Clock
  readonly #drafters: readonly Drafter[]
  readonly #speculation: Speculation

  constructor(model: GeneratorModel, swarm: Forward, options: GeneratorOptions = {}) {
    this.#model = model
    this.#swarm = swarm
    this.#clock = options.clock ?? systemClock
    this.#drafters = options.drafters ?? [new NgramDrafter()]
    this.#speculation = options.speculation ?? new Speculator()
  }

  /** Positions before the text. */
  get #before(): number {
    return this.#swarm.virtualTokens ?? 0
  }

  /**
   * Continues `prompt`, which contains the whole conversation so far; what the servers hold already
   * is not sent again.
   * @throws AppError BAD_INPUT if the prompt is empty or exceeds the context, or what a step throws
   */
  async *generate(
    prompt: readonly number[],
    options: GenerateOptions = {}
  ): AsyncGenerator<GeneratedToken, GenerationStats> {
    const { config, tokenizer, eosIds } = this.#model
    const { made = [] } = options
    const contextLength = config.contextLength - this.#before
    checkPrompt(prompt, contextLength)
    const room = contextLength - prompt.length - made.length
    const most = (options.maxTokens ?? Infinity) - made.length
    const run = this.#begin([...prompt, ...made], Math.max(0, Math.min(most, room)), options)
    const { stats, signal } = run
    const { skipSpecial = true, shown } = options
    const stream = tokenizer.stream({ after: prompt, skipSpecial, shown })
    using _ended = { [Symbol.dispose]: () => this.#swarm.answerEnded?.(this.fed.length) }
    for (const id of made) yield { id, text: stream.push(id) }
    const started = this.#clock.now()
    let firstAt = started
    let drawn: readonly number[] = []
    while (stats.newTokens < run.maxTokens && stats.finish !== 'stop') {
      drawn = stats.newTokens === 0 ? await this.#prompt(run) : await this.#trip(run)
      const now = this.#clock.now()
      if (stats.newTokens === 0) {
        firstAt = now
        stats.firstTokenMs = now - started
      }
      stats.decodeMs = now - firstAt
      for (const [i, id] of drawn.entries()) {
        if (i > 0 && signal?.aborted) throw cancelled('The answer was cancelled')
        stats.newTokens++
        if (eosIds.has(id)) stats.finish = 'stop'
        else yield { id, text: stream.push(id) }
      }
    }
    if (stats.finish !== 'stop' && most >= room) stats.finish = 'context'
    const rest = stream.end()
    if (rest) yield { id: run.text.at(-1) ?? 0, text: rest }
    return stats
  }

  /**
   * Logits of the last `rows` ids of `ids`, (vocabSize) each: the next id is drawn from the last
   * row. Feeds only what the session does not hold yet and what those rows need.
   * @param rows default 1
   * @throws AppError BAD_INPUT if there are none, or more than the context
   */
  async logits(
    ids: readonly number[],
    options: { rows?: number; signal?: AbortSignal | undefined } = {}
  ): Promise<Float32Array[]> {
    const { config, embed, head } = this.#model
    const { signal } = options
    checkPrompt(ids, config.contextLength - this.#before + 1)
    const rows = Math.min(options.rows ?? 1, ids.length)
    const start = Math.min(commonPrefix(this.fed, ids), ids.length - rows)
    this.fed.length = start
    this.#swarm.reserve(ids.length)
    const fresh = ids.slice(start)
    const hidden = embed.call(this.#model, fresh, start)
    const forward = { answerRows: rows, ids: fresh, signal }
    const { output } = await this.#swarm.forward(start, hidden, forward)
    for (const id of fresh) this.fed.push(id)
    const width = output.length / rows
    const all: Float32Array[] = []
    for (let from = 0; from < rows; from += LOGIT_ROWS) {
      const count = Math.min(LOGIT_ROWS, rows - from)
      const part = output.slice(from * width, (from + count) * width)
      const logits = await head.call(this.#model, part, signal)
      const vocabSize = logits.length / count
      for (let i = 0; i < count; i++) all.push(logits.slice(i * vocabSize, (i + 1) * vocabSize))
    }
    return all
  }

  #begin(prompt: readonly number[], maxTokens: number, options: GenerateOptions): Run {
    const stats = emptyStats()
    const { speculate = true, made = [], onprompt, signal } = options
    const sampler = createSampler(options, made.length, options.processors)
    this.stats = stats
    stats.promptTokens = prompt.length
    stats.reusedTokens = Math.min(commonPrefix(this.fed, prompt), prompt.length - 1)
    this.fed.length = stats.reusedTokens
    this.#swarm.reserve(prompt.length + Math.min(maxTokens, PROMISE_TOKENS))
    if (speculate) for (const drafter of this.#drafters) drafter.begin(prompt)
    return { text: [...prompt], sampler, maxTokens, speculate, stats, onprompt, signal }
  }

  /** Feeds what is new of the prompt; returns the first id after it. */
  async #prompt(run: Run): Promise<readonly number[]> {
    const ids = run.text.slice(this.fed.length)
    let done = 0
    const onrows = (rows: number): void => {
      done = Math.min(ids.length, done + rows)
      run.onprompt?.(done, ids.length)
    }
    run.onprompt?.(0, ids.length)
    try {
      const drawn = await this.#step(run, ids, [], emptyTimes(), onrows)
      run.stats.reusedTokens += run.stats.report?.reused ?? 0
      return drawn
    } catch (error) {
      // Whoever asks again goes on from here, though this one left.
      const { heldTokens = 0 } = this.#swarm
      for (let at = this.fed.length; at < Math.min(heldTokens, run.text.length - 1); at++) {
        this.fed.push(run.text[at] ?? 0)
      }
      throw error
    }
  }

  /** Feeds the last id followed by guesses; returns the ids drawn, at least one. */
  async #trip(run: Run): Promise<readonly number[]> {
    const { text, stats, speculate } = run
    const times = emptyTimes()
    const before = this.#clock.now()
    // The last row yields a token of its own, so a guess for it would exceed the limit.
    const most = Math.min(MOST_DRAFTED, run.maxTokens - stats.newTokens - 1)
    const { guesses, ids, source } = await guess({
      drafters: this.#drafters,
      speculation: this.#speculation,
      text,
      most: speculate ? most : 0,
      stops: this.#model.eosIds,
      signal: run.signal
    })
    const guessed = this.#clock.now()
    times.draftMs = guessed - before
    const drawn = await this.#step(run, text.slice(-1), ids, times)
    const sent = ids.length
    stats.trips++
    stats.drafted += sent
    const accepted = Math.min(drawn.length - 1, sent)
    stats.accepted += accepted
    if (source !== undefined) {
      const own = (stats.sources[source] ??= { drafted: 0, accepted: 0 })
      own.drafted += sent
      own.accepted += accepted
    }
    stats.steps.push(times)
    // Drawing costs the same for an id that was guessed and for one that was not.
    const ms = this.#clock.now() - guessed - times.sampleMs
    if (speculate) this.#speculation.note({ guesses, sent, guessMs: times.draftMs, drawn, ms })
    for (const drafter of this.#drafters) drafter.ontrip?.(ms)
    return drawn
  }

  /** Feeds `ids` and `guesses` after what was fed, draws, and drops wrong guesses. */
  async #step(
    run: Run,
    ids: readonly number[],
    guesses: readonly number[],
    times: StepTimes,
    onrows?: (rows: number) => void
  ): Promise<number[]> {
    const { text, sampler, signal } = run
    const start = this.fed.length
    const rows = guesses.length > 0 ? [...ids, ...guesses] : ids
    const t0 = this.#clock.now()
    const hidden = this.#model.embed(rows, start + this.#before)
    const t1 = this.#clock.now()
    const answerRows = guesses.length + 1
    const { output, report } = await this.#swarm.forward(start, hidden, {
      answerRows,
      ids: rows,
      signal,
      ...(onrows ? { onrows } : {})
    })
    const t2 = this.#clock.now()
    if (report) run.stats.report = report
    for (const id of rows) this.fed.push(id)
    const logits = await this.#model.head(output, signal)
    const t3 = this.#clock.now()
    const drawn = verify(logits, guesses, sampler, text, this.#model.eosIds)
    this.fed.length = start + ids.length + Math.min(drawn.length - 1, guesses.length)
    times.embedMs = t1 - t0
    times.swarmMs = t2 - t1
    times.headMs = t3 - t2
    times.sampleMs = this.#clock.now() - t3
    return drawn
  }
}

function emptyTimes(): StepTimes {
  return { draftMs: 0, embedMs: 0, swarmMs: 0, headMs: 0, sampleMs: 0 }
}

function emptyStats(): GenerationStats {
  return {
    promptTokens: 0,
    reusedTokens: 0,
    newTokens: 0,
    firstTokenMs: 0,
    decodeMs: 0,
    finish: 'length',
    trips: 0,
    drafted: 0,
    accepted: 0,
    sources: {},
    steps: []
  }
}

/**
 * @param hasPast whether it contains earlier turns of a conversation
 * @throws AppError BAD_INPUT if it is empty or exceeds the context
 */
export function checkPrompt(
  prompt: readonly number[],
  contextLength: number,
  hasPast = false
): void {
  if (prompt.length === 0) {
    throw badInput('There is nothing to continue: the prompt has no tokens', {
      hint: 'Give a prompt as an argument or through a pipe',
      advice: 'Give a prompt that is not empty'
    })
  }
  if (prompt.length < contextLength) return
  const sizes = `${prompt.length} tokens, the model takes ${contextLength}`
  throw hasPast
    ? badInput(`The conversation has outgrown the model's context: ${sizes}`, {
        hint: 'Begin a new one (/new, or another --session file), or take back what was said last (/undo)'
      })
    : badInput(`The prompt is too long: ${sizes}`, {
        advice: 'Shorten the text, or use a model with a longer context'
      })
}

/** Length of the common prefix of two lists. */
export function commonPrefix(a: readonly number[], b: readonly number[]): number {
  const most = Math.min(a.length, b.length)
  let length = 0
  while (length < most && a[length] === b[length]) length++
  return length
}
