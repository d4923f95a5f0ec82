// Speculation over the real engine: several rows at once choose what single rows choose, and a
// model on this machine can guess for the swarm.
import { afterAll, expect, setDefaultTimeout, test } from 'bun:test'
import type { Clock } from '../../../src/base/clock.ts'
import { Compute } from '../../../src/blocks/compute.ts'
import type { ComputeApi } from '../../../src/blocks/types.ts'
import type { AppError } from '../../../src/base/errors.ts'
import { DraftBlocks } from '../../../src/client/speculate/draft-blocks.ts'
import { ModelDrafter, sharesVocabulary } from '../../../src/client/speculate/draft-model.ts'
import { Generator, type Forward, type GenerateOptions } from '../../../src/client/text/generate.ts'
import { LocalModel } from '../../../src/client/text/local-model.ts'
import { NgramDrafter } from '../../../src/client/speculate/ngram.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { fixedSpeculation } from '../../support/models/tiny-lm.ts'
import { readReferences, storiesLocation } from '../../support/models/stories.ts'

setDefaultTimeout(120_000)

const compute = new Compute({ threads: 1 })
const model = await openModel(storiesLocation)
const local = new LocalModel({ compute, model, headQuant: 'f32' })
afterAll(async () => {
  await local.close()
  await compute.close()
})

const always = fixedSpeculation((offered) => Math.min(offered, 5))

async function tell(
  generator: Generator,
  prompt: readonly number[],
  options: GenerateOptions
): Promise<number[]> {
  const ids: number[] = []
  for await (const { id } of generator.generate(prompt, options)) ids.push(id)
  return ids
}

async function open(): Promise<DraftBlocks> {
  const blocks = new DraftBlocks({ compute, model, quant: 'f32' })
  await Promise.all([blocks.ready(), local.ready()])
  return blocks
}

test('looked-up guesses leave the golden texts of stories260K as they are', async () => {
  await using blocks = await open()
  let accepted = 0
  for (const { promptIds, ids } of readReferences()) {
    const generator = new Generator(local, blocks, { speculation: always })
    const options = { temperature: 0, maxTokens: ids.length }
    expect(await tell(generator, promptIds, options)).toEqual(ids)
    accepted += generator.stats.accepted
  }
  expect(accepted).toBeGreaterThan(20)
})

test('a seed gives one text over the engine, with speculation and without', async () => {
  await using blocks = await open()
  for (const seed of [1, 2, 3]) {
    const [{ promptIds } = { promptIds: [1] }] = readReferences()
    const options = { temperature: 0.8, seed, maxTokens: 120 }
    const generator = new Generator(local, blocks, { speculation: always })
    const plain = await tell(generator, promptIds, { ...options, speculate: false })
    expect({ seed, ids: await tell(generator, promptIds, options) }).toEqual({ seed, ids: plain })
  }
})

test('a model guesses for its equal without an error', async () => {
  await using blocks = await open()
  const small = await openModel(storiesLocation)
  await using drafter = new ModelDrafter({ compute, model: small, quant: 'f32' })
  await drafter.ready()
  expect(drafter.guessMs).toBeGreaterThan(0)
  const [{ promptIds, ids } = { promptIds: [1], ids: [1] }] = readReferences()
  const generator = new Generator(local, blocks, { drafters: [drafter], speculation: always })
  expect(await tell(generator, promptIds, { temperature: 0, maxTokens: ids.length })).toEqual(ids)
  const { accepted, drafted, trips } = generator.stats
  // Its head has other activations than the target's, so a near tie may fall the other way.
  expect(accepted / drafted).toBeGreaterThan(0.9)
  expect(trips).toBeLessThan(ids.length / 4)
})

test('over long trips a model is asked by itself, and gives the text of plain decoding', async () => {
  await using blocks = await open()
  const [{ promptIds } = { promptIds: [1] }] = readReferences()
  for (const sampling of [{ temperature: 0 }, { temperature: 0.7, seed: 5 }]) {
    // Time passes in trips alone, 100 ms each.
    let now = 0
    const clock: Clock = { now: () => now, wall: () => now, after: () => () => {} }
    const slow: Forward = {
      reserve: () => {},
      forward: (...args) => {
        now += 100
        return blocks.forward(...args)
      }
    }
    const small = await openModel(storiesLocation)
    await using drafter = new ModelDrafter({ compute, model: small, quant: 'f32', clock })
    await drafter.ready()
    const drafters = [new NgramDrafter(), drafter]
    const generator = new Generator(local, slow, { drafters, clock })
    const options = { ...sampling, maxTokens: 80 }
    const plain = await tell(generator, promptIds, { ...options, speculate: false })
    expect(await tell(generator, promptIds, options)).toEqual(plain)
    const { trips, newTokens, sources } = generator.stats
    expect(newTokens / trips).toBeGreaterThan(2)
    expect(sources['model']?.accepted).toBeGreaterThan(20)
  }
})

test('a long prompt is read beside the trips before the first guess', async () => {
  await using blocks = await open()
  const small = await openModel(storiesLocation)
  await using drafter = new ModelDrafter({ compute, model: small, quant: 'f32' })
  await drafter.ready()
  const [{ promptIds, ids } = { promptIds: [1], ids: [1] }] = readReferences()
  const prompt = [...promptIds, ...ids.slice(0, 100)]
  let draft = await drafter.draft(prompt, 4)
  expect(draft.ids).toEqual([])
  // Each trip asks again; steps of this engine stand for them.
  for (let trip = 0; draft.ids.length === 0 && trip < 1000; trip++) {
    await blocks.forward(0, local.embed([1], 0))
    draft = await drafter.draft(prompt, 4)
  }
  expect(draft.ids).toEqual(ids.slice(100, 104))
})

test('of a long prompt as much is read as a trip leaves time for, a few rows at least', async () => {
  let now = 0
  const clock: Clock = { now: () => now, wall: () => now, after: () => () => {} }
  const counts: number[] = []
  const { hiddenSize, vocabSize } = model.config
  // Every step takes 10 ms and no time at all.
  const stub = {
    loadHead: async () => 1,
    unloadHead: async () => {},
    loadSpan: async () => ({ span: 1 }),
    unloadSpan: async () => {},
    openSession: async () => 1,
    closeSession: async () => {},
    head: async () => new Float32Array(vocabSize),
    async step({ count }: { count: number }) {
      now += 10
      counts.push(count)
      return { hidden: new Float32Array(count * hiddenSize), computeMs: 10, queueMs: 0 }
    }
  } as unknown as ComputeApi
  const small = await openModel(storiesLocation)
  await using drafter = new ModelDrafter({ compute: stub, model: small, clock })
  await drafter.ready()
  const prompt = Array.from({ length: 200 }, (_, at) => 1 + (at % 50))
  const read: number[][] = []
  for (const tripMs of [0, 60, 1000]) {
    drafter.ontrip(tripMs)
    counts.length = 0
    await drafter.draft(prompt, 4)
    await new Promise((resolve) => setImmediate(resolve))
    read.push([...counts])
  }
  // 16 rows; 60 % of 60 ms; then the rest but for the last id, which the first guess reads.
  expect(read).toEqual([[16], [16, 16, 16], [...Array(8).fill(16), 7]])
})

test('ids that the other model does not have are never guessed', async () => {
  const small = await openModel(storiesLocation)
  const [{ promptIds, ids } = { promptIds: [1], ids: [1] }] = readReferences()
  const limit = Math.max(...ids.slice(0, 12))
  await using drafter = new ModelDrafter({ compute, model: small, quant: 'f32', vocabSize: limit })
  await drafter.ready()
  const end = ids.indexOf(limit)
  expect((await drafter.draft(promptIds, 12)).ids).toEqual(ids.slice(0, end))
})

test('a model that fails is not asked again, and the text goes on', async () => {
  await using blocks = await open()
  const small = await openModel(storiesLocation)
  const errors: AppError[] = []
  const drafter = new ModelDrafter({
    compute,
    model: small,
    quant: 'f32',
    onerror: (error) => void errors.push(error)
  })
  await drafter.ready()
  const [{ promptIds, ids } = { promptIds: [1], ids: [1] }] = readReferences()
  const drafters = [new NgramDrafter(), drafter]
  const generator = new Generator(local, blocks, { drafters, speculation: always })
  const heard: number[] = []
  for await (const { id } of generator.generate(promptIds, {
    temperature: 0,
    maxTokens: ids.length
  })) {
    heard.push(id)
    if (heard.length === 20) await drafter.close()
  }
  expect(heard).toEqual(ids)
  expect(errors.length).toBeLessThanOrEqual(1)
  expect(drafter.guessMs).toBeGreaterThan(1e6)
})

test('sharesVocabulary() compares every id', () => {
  const spec = (tokens: string[]): typeof model.tokenizer => ({
    ...model.tokenizer,
    json: { model: { vocab: tokens.map((token) => [token, 0]) }, added_tokens: [] }
  })
  const asObject = { ...spec([]), json: { model: { vocab: { a: 0, b: 1 } } } }
  expect([
    sharesVocabulary(model.tokenizer, model.tokenizer),
    sharesVocabulary(spec(['a', 'b']), asObject),
    sharesVocabulary(spec(['a', 'b']), spec(['a', 'c'])),
    sharesVocabulary(spec(['a', 'b']), spec(['a'])),
    sharesVocabulary(spec([]), spec([]))
  ]).toEqual([true, true, false, false, false])
})
