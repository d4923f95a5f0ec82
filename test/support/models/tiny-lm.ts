// A language model in plain arithmetic: what follows depends on the last ids, or on all of them, so
// that a row that is lost, doubled, misplaced or not taken back changes the text.
import { seededRandom, type Random } from '../../../src/base/random.ts'
import type { Clock } from '../../../src/base/clock.ts'
import type { Draft, Drafter } from '../../../src/client/speculate/draft.ts'
import type { Forward, GeneratorModel } from '../../../src/client/text/generate.ts'
import { createSampler, type SamplingOptions } from '../../../src/client/text/sampler.ts'
import type { ForwardOptions } from '../../../src/client/session/forward.ts'
import type { Speculation } from '../../../src/client/speculate/speculate.ts'

export interface TinyOptions {
  seed: number
  vocabSize?: number
  /** How many of the last ids decide; Infinity: all. Default 2, which soon repeats itself. */
  order?: number
  contextLength?: number
  eosIds?: number[]
  /** How far apart logits are. Default 4. */
  spread?: number
}

export class TinyLm implements GeneratorModel {
  readonly config: { contextLength: number }
  readonly eosIds: ReadonlySet<number>
  readonly tokenizer: GeneratorModel['tokenizer'] = {
    stream: () => ({ push: (id) => `${id} `, end: () => '' })
  }
  readonly vocabSize: number
  readonly #seed: number
  readonly #order: number
  readonly #spread: number

  constructor(options: TinyOptions) {
    this.#seed = options.seed
    this.#order = options.order ?? 2
    this.#spread = options.spread ?? 4
    this.vocabSize = options.vocabSize ?? 12
    this.config = { contextLength: options.contextLength ?? 4096 }
    this.eosIds = new Set(options.eosIds ?? [])
  }

  embed(ids: readonly number[]): Float32Array {
    return Float32Array.from(ids)
  }

  /** What the blocks make of the last of `ids`: 24 bits, exact in f32. */
  state(ids: readonly number[]): number {
    let hash = 17
    for (const id of this.#order < ids.length ? ids.slice(-this.#order) : ids) hash = mix(hash, id)
    return hash & 0xffffff
  }

  async head(hidden: Float32Array): Promise<Float32Array> {
    const logits = new Float32Array(hidden.length * this.vocabSize)
    for (let row = 0; row < hidden.length; row++) {
      const state = mix(hidden[row] ?? 0, this.#seed)
      for (let id = 0; id < this.vocabSize; id++) {
        logits[row * this.vocabSize + id] = ((mix(state, id) >>> 8) / 2 ** 24) * this.#spread
      }
    }
    return logits
  }

  /** The text that one row after the other gives, stop included, in the plainest way. */
  async plain(
    prompt: readonly number[],
    tokens: number,
    sampling: SamplingOptions
  ): Promise<number[]> {
    const sampler = createSampler(sampling)
    const text = [...prompt]
    while (text.length < prompt.length + tokens) {
      const logits = await this.head(Float32Array.of(this.state(text)))
      text.push(sampler.next(logits, text))
      if (this.eosIds.has(text.at(-1) ?? -1)) break
    }
    return text.slice(prompt.length)
  }
}

function mix(hash: number, value: number): number {
  let mixed = Math.imul(hash ^ value, 0x9e3779b1)
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b)
  return (mixed ^ (mixed >>> 13)) >>> 0
}

/** A swarm whose KV are the ids themselves, and whose trips take the time that a test says. */
export class TinySwarm implements Forward {
  readonly held: number[] = []
  readonly trips: { start: number; rows: number; answerRows: number }[] = []
  reserved = 0
  /** Called before each trip; may throw or wait. */
  ontrip: (trip: number) => Promise<void> | void = () => {}
  tripMs: (rows: number) => number = () => 0
  readonly clock: Clock
  #now = 0
  readonly #lm: TinyLm

  constructor(lm: TinyLm) {
    this.#lm = lm
    this.clock = { now: () => this.#now, wall: () => this.#now, after: () => () => {} }
  }

  reserve(maxTokens: number): void {
    this.reserved = Math.max(this.reserved, maxTokens)
  }

  async forward(
    start: number,
    hidden: Float32Array,
    options: ForwardOptions = {}
  ): Promise<{ output: Float32Array }> {
    const rows = hidden.length
    const { answerRows = rows } = options
    if (start > this.held.length) throw new Error(`A gap before ${start}`)
    if (start + rows > this.#lm.config.contextLength) throw new Error('Over the context')
    this.held.length = start
    await this.ontrip(this.trips.length)
    this.trips.push({ start, rows, answerRows })
    this.#now += this.tripMs(rows)
    const answer: number[] = []
    for (const id of hidden) {
      this.held.push(id)
      answer.push(this.#lm.state(this.held))
    }
    return { output: Float32Array.from(answer.slice(-answerRows)) }
  }
}

/** Knows the text to come, and errs in a seeded share of guesses. */
export class SeerDrafter implements Drafter {
  readonly name = 'seer'
  readonly guessMs = 0
  readonly #text: readonly number[]
  readonly #right: number
  readonly #random: Random

  /** @param text prompt and answer */
  constructor(text: readonly number[], right: number, seed: number) {
    this.#text = text
    this.#right = right
    this.#random = seededRandom(seed)
  }

  begin(): void {}

  async draft(ids: readonly number[], most: number): Promise<Draft> {
    const guess = this.#text.slice(ids.length, ids.length + most)
    return {
      ids: guess.map((id) => (this.#random.next() < this.#right ? id : id + 1)),
      matched: 2
    }
  }
}

/** Sends as many guesses as `length` says of those offered. */
export function fixedSpeculation(length: (offered: number) => number): Speculation {
  return { choose: (_, __, offered) => ({ length: length(offered), rate: 1 }), note: () => {} }
}

/** Sends as many guesses as a die says. */
export function diceSpeculation(seed: number, most = 6): Speculation {
  const random = seededRandom(seed)
  return fixedSpeculation((offered) => Math.min(offered, random.below(most + 1)))
}
