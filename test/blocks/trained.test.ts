// Trained models through the worker: reference texts id for id, and the rule for int8 activations.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Compute } from '../../src/blocks/compute.ts'
import type { Quant } from '../../src/blocks/types.ts'
import { loadKernels } from '../../src/kernels/load.ts'
import { embedTokens } from '../../src/model/embed.ts'
import { openModel } from '../../src/model/open-model.ts'
import type { Model, ModelLocation } from '../../src/model/types.ts'
import { smollm2Location } from '../support/models/smollm2.ts'
import { readReferences, storiesLocation } from '../support/models/stories.ts'
import { argmax } from './support/engine-helpers.ts'

// A machine that does other things at the same time must not fail these.
setDefaultTimeout(300_000)

interface Prompt {
  name: string
  promptIds: number[]
  f32Ids: number[]
  margins: number[]
}

/** A margin that another order of summing can turn around. */
const TINY_MARGIN = 2e-3
/** llama.cpp's own int8 kernels turn no margin over this around. */
const SURE_MARGIN = 0.5
const LEAST_AGREEMENT = 0.96

/** A model's spans one behind the other, as servers would hold them. */
class Chain {
  readonly #compute: Compute
  readonly #model: Model
  readonly #spans: number[] = []
  #head = 0

  constructor(compute: Compute, model: Model) {
    this.#compute = compute
    this.#model = model
  }

  async load(location: ModelLocation, quant: Quant, bounds: readonly number[]): Promise<void> {
    for (const [i, end] of bounds.slice(1).entries()) {
      const info = await this.#compute.loadSpan({ location, start: bounds[i]!, end, quant })
      this.#spans.push(info.span)
    }
    this.#head = await this.#compute.loadHead(location, quant === 'f32' ? 'f32' : 'native')
  }

  open(): Promise<number[]> {
    return Promise.all(this.#spans.map((span) => this.#compute.openSession(span)))
  }

  /** Hidden rows after all spans. */
  async rows(
    sessions: readonly number[],
    start: number,
    ids: readonly number[]
  ): Promise<Float32Array> {
    let hidden = embedTokens(this.#model, ids)
    for (const session of sessions) {
      ;({ hidden } = await this.#compute.step({ session, start, count: ids.length, hidden }))
    }
    return hidden
  }

  /** The likeliest next id after each row from `first` on. */
  async choices(hidden: Float32Array, first: number): Promise<number[]> {
    const { hiddenSize, vocabSize } = this.#model.config
    const logits = await this.#compute.head(this.#head, hidden.slice(first * hiddenSize))
    const chosen: number[] = []
    for (let at = 0; at < logits.length; at += vocabSize) {
      chosen.push(argmax(logits.subarray(at, at + vocabSize)))
    }
    return chosen
  }

  /** Greedy text, one token a step. */
  async generate(promptIds: readonly number[], count: number): Promise<number[]> {
    const sessions = await this.open()
    const ids: number[] = []
    let feed: readonly number[] = promptIds
    let at = 0
    while (ids.length < count) {
      const hidden = await this.rows(sessions, at, feed)
      at += feed.length
      const [next = -1] = await this.choices(hidden, feed.length - 1)
      ids.push(next)
      feed = [next]
    }
    await Promise.all(sessions.map((session) => this.#compute.closeSession(session)))
    return ids
  }

  /** The likeliest id at each position of `ids`, all fed at once. */
  async forced(promptIds: readonly number[], ids: readonly number[]): Promise<number[]> {
    const sessions = await this.open()
    const hidden = await this.rows(sessions, 0, [...promptIds, ...ids.slice(0, -1)])
    const chosen = await this.choices(hidden, promptIds.length - 1)
    await Promise.all(sessions.map((session) => this.#compute.closeSession(session)))
    return chosen
  }

  async close(): Promise<void> {
    for (const span of this.#spans) await this.#compute.unloadSpan(span)
    await this.#compute.unloadHead(this.#head)
  }
}

let compute: Compute

beforeAll(async () => {
  compute = new Compute({ threads: 2 })
  await compute.ready()
})
afterAll(() => compute.close())

async function withChain(
  location: ModelLocation,
  quant: Quant,
  bounds: readonly number[],
  use: (chain: Chain) => Promise<void>
): Promise<void> {
  const model = await openModel(location)
  const chain = new Chain(compute, model)
  try {
    await chain.load(location, quant, bounds)
    await use(chain)
  } finally {
    await chain.close()
    model.close()
  }
}

describe('stories260K', () => {
  for (const bounds of [
    [0, 5],
    [0, 2, 3, 5]
  ]) {
    test(`tells its reference stories id for id, over ${bounds.length - 1} span(s)`, async () => {
      await withChain(storiesLocation, 'native', bounds, async (chain) => {
        for (const { promptIds, ids } of readReferences()) {
          expect(await chain.generate(promptIds, ids.length)).toEqual(ids)
        }
      })
    })
  }
})

describe('SmolLM2', () => {
  const fixture = join(import.meta.dir, '..', 'fixtures', 'smollm2.json')
  const all = (JSON.parse(readFileSync(fixture, 'utf8')) as { prompts: Prompt[] }).prompts
  // Plain C is 20 times slower: it has the short ones.
  const isPlain = loadKernels().variant === 'plain'
  const prompts = all.filter(({ promptIds }) => !isPlain || promptIds.length < 20)

  test('gives the ids of float arithmetic with float activations', async () => {
    await withChain(await smollm2Location(), 'f32', [0, 30], async (chain) => {
      for (const { name, promptIds, f32Ids, margins } of prompts) {
        const chosen = await chain.forced(promptIds, f32Ids)
        const wrong = chosen.flatMap((id, i) =>
          id !== f32Ids[i] && margins[i]! > TINY_MARGIN ? [{ i, id, margin: margins[i]! }] : []
        )
        expect({ name, length: chosen.length, wrong }).toEqual({
          name,
          length: f32Ids.length,
          wrong: []
        })
      }
      const [{ promptIds, f32Ids }] = prompts as [Prompt]
      expect(await chain.generate(promptIds, f32Ids.length)).toEqual(f32Ids)
    })
  })

  test('keeps the rule for int8 activations, with one span and the same bits with three', async () => {
    const location = await smollm2Location()
    const answers: number[][][] = []
    for (const bounds of [
      [0, 30],
      [0, 10, 20, 30]
    ]) {
      await withChain(location, 'native', bounds, async (chain) => {
        const all: number[][] = []
        for (const { promptIds, f32Ids } of prompts) {
          all.push(await chain.forced(promptIds, f32Ids))
        }
        answers.push(all)
      })
    }
    const checks = prompts.flatMap(({ f32Ids, margins }, p) =>
      f32Ids.map((id, i) => ({ same: answers[0]![p]![i] === id, margin: margins[i]! }))
    )
    const sureMisses = checks.filter(({ same, margin }) => !same && margin >= SURE_MARGIN)
    const agreement = checks.filter(({ same }) => same).length / checks.length
    expect({ sureMisses, three: answers[1] }).toEqual({ sureMisses: [], three: answers[0]! })
    expect(agreement).toBeGreaterThanOrEqual(LEAST_AGREEMENT)
  })
})
