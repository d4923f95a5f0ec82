// Text with speculation is the text without: over plain arithmetic models, over a swarm that keeps
// only ids, and over real BlockServers.
import { expect, test } from 'bun:test'
import { AppError } from '../../../src/base/errors.ts'
import { seededRandom } from '../../../src/base/random.ts'
import {
  Generator,
  type GenerateOptions,
  type GenerationStats,
  type GeneratorOptions
} from '../../../src/client/text/generate.ts'
import {
  argmax,
  createSampler,
  distribution,
  resolveSampling,
  type SamplingOptions
} from '../../../src/client/text/sampler.ts'
import { verify } from '../../../src/client/speculate/speculate.ts'
import {
  diceSpeculation,
  fixedSpeculation,
  SeerDrafter,
  TinyLm,
  TinySwarm
} from '../../support/models/tiny-lm.ts'

interface Told {
  ids: number[]
  stats: GenerationStats
}

async function tell(
  generator: Generator,
  prompt: readonly number[],
  options: GenerateOptions
): Promise<Told> {
  const ids: number[] = []
  const answer = generator.generate(prompt, options)
  for (;;) {
    const step = await answer.next()
    if (step.done) return { ids, stats: step.value }
    ids.push(step.value.id)
  }
}

function open(lm: TinyLm, more: GeneratorOptions = {}): { swarm: TinySwarm; generator: Generator } {
  const swarm = new TinySwarm(lm)
  swarm.tripMs = (rows) => 100 + rows
  return { swarm, generator: new Generator(lm, swarm, { clock: swarm.clock, ...more }) }
}

function promptOf(seed: number, vocabSize: number): number[] {
  const random = seededRandom(seed)
  return Array.from({ length: 1 + random.below(20) }, () => random.below(vocabSize))
}

const SAMPLINGS: readonly SamplingOptions[] = [
  { temperature: 0 },
  { temperature: 0, repetitionPenalty: 1.3, repetitionWindow: 6 },
  { temperature: 0.4, topP: 1 },
  { temperature: 1, topP: 0.9, minP: 0.05, repetitionPenalty: 1.2 },
  { temperature: 0.8, topK: 3 }
]

test('text looked up in itself is the text of plain decoding, greedy and seeded', async () => {
  let accepted = 0
  for (let seed = 0; seed < 40; seed++) {
    for (const sampling of SAMPLINGS) {
      const lm = new TinyLm({ seed, order: 1 + (seed % 3) })
      const prompt = promptOf(seed, lm.vocabSize)
      const options = { ...sampling, seed, maxTokens: 80 }
      const { generator } = open(lm)
      const { ids, stats } = await tell(generator, prompt, options)
      const plain = await lm.plain(prompt, 80, options)
      expect({ seed, sampling, ids }).toEqual({ seed, sampling, ids: plain })
      accepted += stats.accepted
    }
  }
  expect(accepted).toBeGreaterThan(1000)
})

test('any number of guesses, right or wrong, gives the text of plain decoding', async () => {
  const totals = { drafted: 0, accepted: 0 }
  for (let seed = 0; seed < 60; seed++) {
    const sampling = SAMPLINGS[seed % SAMPLINGS.length] ?? {}
    const lm = new TinyLm({ seed, order: Infinity })
    const prompt = promptOf(seed, lm.vocabSize)
    const options = { ...sampling, seed, maxTokens: 60 }
    const plain = await lm.plain(prompt, 60, options)
    const { generator, swarm } = open(lm, {
      drafters: [new SeerDrafter([...prompt, ...plain], 0.7, seed)],
      speculation: diceSpeculation(seed)
    })
    const { ids, stats } = await tell(generator, prompt, options)
    expect({ seed, ids }).toEqual({ seed, ids: plain })
    expect(generator.fed).toEqual([...prompt, ...plain].slice(0, -1))
    expect(swarm.held.slice(0, generator.fed.length)).toEqual(generator.fed)
    totals.drafted += stats.drafted
    totals.accepted += stats.accepted
  }
  expect(totals.accepted).toBeGreaterThan(500)
  expect(totals.drafted - totals.accepted).toBeGreaterThan(500)
})

test('three tokens with speculation are distributed as the model says', async () => {
  const lm = new TinyLm({ seed: 5, vocabSize: 4, order: Infinity, spread: 2 })
  const prompt = [1, 2]
  const sampling = { temperature: 0.9, topP: 1 }
  const expected = new Map<string, number>()
  const walk = async (text: number[], probability: number): Promise<void> => {
    if (text.length === prompt.length + 3) {
      expected.set(text.slice(prompt.length).join(), probability)
      return
    }
    const logits = await lm.head(Float32Array.of(lm.state(text)))
    const { ids, probabilities } = distribution(logits, resolveSampling(sampling), text)
    for (const [i, id] of ids.entries()) await walk([...text, id], probability * probabilities[i]!)
  }
  await walk(prompt, 1)
  // The guess is one fixed text, whatever the draw: now right, now wrong.
  const guess = (ids: readonly number[], most: number): { ids: number[]; matched: number } => ({
    ids: [1, 2, 3, 0, 2].slice(ids.length - prompt.length, ids.length - prompt.length + most),
    matched: 2
  })
  const seeds = 6000
  const counts = new Map<string, number>()
  let accepted = 0
  for (let seed = 0; seed < seeds; seed++) {
    const { generator } = open(lm, {
      drafters: [{ name: 'fixed', guessMs: 0, begin: () => {}, draft: guess }],
      speculation: fixedSpeculation((offered) => offered)
    })
    const { ids, stats } = await tell(generator, prompt, { ...sampling, seed, maxTokens: 3 })
    counts.set(ids.join(), (counts.get(ids.join()) ?? 0) + 1)
    accepted += stats.accepted
  }
  let statistic = 0
  for (const [text, probability] of expected) {
    const mean = probability * seeds
    statistic += ((counts.get(text) ?? 0) - mean) ** 2 / mean
  }
  expect(expected.size).toBe(64)
  expect(accepted).toBeGreaterThan(seeds / 5)
  // Pearson's statistic over 63 degrees of freedom; 113 is passed once in 10,000 runs.
  expect(statistic).toBeLessThan(113)
})

test('repeating text takes far fewer trips, and without speculation one a token', async () => {
  const lm = new TinyLm({ seed: 3, order: 1 })
  const options = { temperature: 0, maxTokens: 200 }
  const { stats } = await tell(open(lm).generator, [1, 2], options)
  const off = await tell(open(lm).generator, [1, 2], { ...options, speculate: false })
  expect(off.stats).toMatchObject({ trips: 199, drafted: 0, accepted: 0, newTokens: 200 })
  expect(stats.newTokens).toBe(200)
  expect(stats.trips).toBeLessThan(60)
  expect(stats.trips + stats.accepted).toBe(199)
  expect(stats.steps.length).toBe(stats.trips)
  expect(stats.decodeMs).toBeLessThan(off.stats.decodeMs / 3)
})

test('text that never repeats takes no longer than without speculation', async () => {
  const lm = new TinyLm({ seed: 4, order: Infinity, vocabSize: 500 })
  const options = { temperature: 0, maxTokens: 300 }
  const { stats } = await tell(open(lm).generator, [1, 2], options)
  const off = await tell(open(lm).generator, [1, 2], { ...options, speculate: false })
  expect(stats.decodeMs).toBeLessThan(off.stats.decodeMs / 0.97)
})

/** A model whose answer stops somewhere in the middle, guessed right to beyond the stop. */
async function stopping(seed: number): Promise<{ lm: TinyLm; prompt: number[]; plain: number[] }> {
  const prompt = promptOf(seed, 12)
  const free = await new TinyLm({ seed, order: Infinity }).plain(prompt, 40, { temperature: 0 })
  const lm = new TinyLm({ seed, order: Infinity, eosIds: [free[20] ?? 0] })
  return { lm, prompt, plain: await lm.plain(prompt, 40, { temperature: 0 }) }
}

test('a stop among right guesses ends the text there', async () => {
  for (let seed = 0; seed < 30; seed++) {
    const { lm, prompt, plain } = await stopping(seed)
    const { generator, swarm } = open(lm, {
      drafters: [new SeerDrafter([...prompt, ...plain, 1, 2, 3], 1, seed)],
      speculation: diceSpeculation(seed)
    })
    const { ids, stats } = await tell(generator, prompt, { temperature: 0, maxTokens: 40 })
    const [finish, newTokens] = ['stop', plain.length]
    expect({ ids, finish: stats.finish, newTokens: stats.newTokens }).toEqual({
      ids: plain.slice(0, -1),
      finish,
      newTokens
    } as never)
    expect(generator.fed).toEqual([...prompt, ...plain.slice(0, -1)])
    // A stop needs no row of its own, and what is guessed behind it none at all.
    expect(swarm.held).toEqual(generator.fed)
  }
})

test('the limit of tokens and the context are met exactly and never passed', async () => {
  for (let seed = 0; seed < 30; seed++) {
    const lm = new TinyLm({ seed, order: Infinity, contextLength: 50 })
    const prompt = promptOf(seed, lm.vocabSize)
    const plain = await lm.plain(prompt, 60, { temperature: 0 })
    for (const maxTokens of [1, 2, 3, 17, 1000]) {
      const { generator, swarm } = open(lm, {
        drafters: [new SeerDrafter([...prompt, ...plain], 0.9, seed)],
        speculation: fixedSpeculation((offered) => offered)
      })
      const { ids, stats } = await tell(generator, prompt, { temperature: 0, maxTokens })
      const length = Math.min(maxTokens, 50 - prompt.length)
      expect(ids).toEqual(plain.slice(0, length))
      expect(stats.finish).toBe(length === maxTokens ? 'length' : 'context')
      // The last token drawn is never fed, so that neither is any guess for its place.
      const ends = swarm.trips.map(({ start, rows }) => start + rows)
      expect(Math.max(...ends)).toBeLessThan(prompt.length + length)
    }
  }
})

test('a trip asks for the rows behind its guesses and no others', async () => {
  const lm = new TinyLm({ seed: 1, order: Infinity })
  const prompt = promptOf(1, lm.vocabSize)
  const { generator, swarm } = open(lm, { speculation: diceSpeculation(1) })
  const { stats } = await tell(generator, prompt, { temperature: 0, maxTokens: 60 })
  const [first, ...rest] = swarm.trips
  expect(first).toEqual({ start: 0, rows: prompt.length, answerRows: 1 })
  expect(rest.every(({ rows, answerRows }) => rows === answerRows)).toBe(true)
  expect(rest.reduce((sum, { rows }) => sum + rows - 1, 0)).toBe(stats.drafted)
  expect(rest.length).toBe(stats.trips)
})

/** What a fresh generator says to the same prompt: what is held from before must not show. */
async function fresh(lm: TinyLm, prompt: number[], options: GenerateOptions): Promise<number[]> {
  return (await tell(open(lm, {}).generator, prompt, { ...options, speculate: false })).ids
}

test('an answer that the reader leaves anywhere leaves the next turn right', async () => {
  for (let seed = 0; seed < 30; seed++) {
    const lm = new TinyLm({ seed, order: Infinity })
    const prompt = promptOf(seed, lm.vocabSize)
    const options = { ...SAMPLINGS[seed % SAMPLINGS.length], seed, maxTokens: 40 }
    const plain = await lm.plain(prompt, 40, options)
    const { generator } = open(lm, {
      drafters: [new SeerDrafter([...prompt, ...plain], 0.8, seed)],
      speculation: diceSpeculation(seed)
    })
    const heard: number[] = []
    for await (const { id } of generator.generate(prompt, options)) {
      heard.push(id)
      if (heard.length === 1 + (seed % 25)) break
    }
    expect(heard).toEqual(plain.slice(0, heard.length))
    const next = [...prompt, ...heard, 5, 6, 7]
    const { ids, stats } = await tell(generator, next, options)
    expect({ seed, ids }).toEqual({ seed, ids: await fresh(lm, next, options) })
    expect(stats.reusedTokens).toBeGreaterThanOrEqual(prompt.length + heard.length - 1)
  }
})

test('a trip that fails, before or behind the servers, leaves the next turn right', async () => {
  for (let seed = 0; seed < 30; seed++) {
    const lm = new TinyLm({ seed, order: Infinity })
    const prompt = promptOf(seed, lm.vocabSize)
    const options = { temperature: 0, maxTokens: 40 }
    const plain = await lm.plain(prompt, 40, options)
    const { generator, swarm } = open(lm, {
      drafters: [new SeerDrafter([...prompt, ...plain], 0.8, seed)],
      speculation: diceSpeculation(seed)
    })
    const head = lm.head.bind(lm)
    swarm.ontrip = (trip) => {
      if (trip !== 5) return
      if (seed % 2 === 0) throw new AppError('NO_ROUTE', 'Gone')
      lm.head = async () => {
        throw new AppError('COMPUTE', 'Gone')
      }
    }
    const code = seed % 2 === 0 ? 'NO_ROUTE' : 'COMPUTE'
    await expect(tell(generator, prompt, options)).rejects.toMatchObject({ code })
    lm.head = head
    swarm.ontrip = () => {}
    expect(swarm.held.slice(0, generator.fed.length)).toEqual(generator.fed)
    expect((await tell(generator, prompt, options)).ids).toEqual(plain)
  }
})

test('a cancelled answer gives no more tokens, also of those already drawn', async () => {
  const lm = new TinyLm({ seed: 2, order: Infinity })
  const prompt = [1, 2, 3]
  const options = { temperature: 0, maxTokens: 40 }
  const plain = await lm.plain(prompt, 40, options)
  const { generator, swarm } = open(lm, {
    drafters: [new SeerDrafter([...prompt, ...plain], 1, 1)],
    speculation: fixedSpeculation((offered) => Math.min(offered, 6))
  })
  const controller = new AbortController()
  const heard: number[] = []
  const listen = async (): Promise<void> => {
    for await (const { id } of generator.generate(prompt, {
      ...options,
      signal: controller.signal
    })) {
      heard.push(id)
      // The second trip brings tokens 9 to 15.
      if (heard.length === 11) controller.abort()
    }
  }
  await expect(listen()).rejects.toMatchObject({ code: 'CANCELLED' })
  expect([heard, swarm.trips.length]).toEqual([plain.slice(0, 11), 3])
  expect((await tell(generator, prompt, options)).ids).toEqual(plain)
})

test('a conversation sends each turn only what is new, and guesses from all of it', async () => {
  const lm = new TinyLm({ seed: 9, order: 2, eosIds: [3] })
  const { generator, swarm } = open(lm)
  const reference = new TinyLm({ seed: 9, order: 2, eosIds: [3] })
  let text = [1, 2]
  let accepted = 0
  for (let turn = 0; turn < 12; turn++) {
    const options = { temperature: 0.7, seed: turn, maxTokens: 50 }
    const plain = await reference.plain(text, 50, options)
    const before = swarm.trips.length
    const { ids, stats } = await tell(generator, text, options)
    expect({ turn, ids }).toEqual({ turn, ids: plain.filter((id) => id !== 3) })
    if (turn > 0) expect(swarm.trips[before]?.rows).toBeLessThanOrEqual(4)
    accepted += stats.accepted
    text = [...text, ...ids, 3, 1, 2]
  }
  expect(accepted).toBeGreaterThan(0)
})

test('a drafter is told of every text from its beginning', async () => {
  const lm = new TinyLm({ seed: 7, order: Infinity })
  const begun: (readonly number[])[] = []
  const drafter = {
    name: 'silent',
    guessMs: 0,
    begin: (ids: readonly number[]) => void begun.push([...ids]),
    draft: () => ({ ids: [], matched: 0 })
  }
  const { generator } = open(lm, { drafters: [drafter] })
  for (const prompt of [[1, 2], [1, 2, 3, 4], [5]]) {
    await tell(generator, prompt, { temperature: 0, maxTokens: 4 })
  }
  await tell(generator, [6], { temperature: 0, maxTokens: 4, speculate: false })
  expect(begun).toEqual([[1, 2], [1, 2, 3, 4], [5]])
})

test('verify() draws nothing behind a stop, and leaves it out of the text', async () => {
  const lm = new TinyLm({ seed: 8, order: Infinity })
  const logits = await lm.head(Float32Array.of(1, 2, 3))
  const stop = argmax(logits.subarray(0, lm.vocabSize))
  const text = [4]
  const sampler = createSampler({ temperature: 0 })
  expect(verify(logits, [stop, 5], sampler, text, new Set([stop]))).toEqual([stop])
  expect(text).toEqual([4])
})

test('a drafter whose guesses cost is asked only for what will be sent', async () => {
  const lm = new TinyLm({ seed: 6, order: Infinity })
  const asked: number[] = []
  const drafter = {
    name: 'dear',
    guessMs: 2,
    begin: () => {},
    draft: (ids: readonly number[], most: number) => {
      asked.push(most)
      return { ids: ids.slice(0, most), matched: 1 }
    }
  }
  const lengths = [0, 3, 0, 2]
  const speculation = fixedSpeculation(() => lengths.shift() ?? 0)
  const { generator } = open(lm, { drafters: [drafter], speculation })
  const { stats } = await tell(generator, [1, 2, 3, 4], { temperature: 0, maxTokens: 12 })
  expect([asked, stats.drafted]).toEqual([[3, 2], 5])
})
