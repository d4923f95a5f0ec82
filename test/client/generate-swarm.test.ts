// Speculation over sessions and real BlockServers: what was guessed wrongly is taken back on every
// server of the chain, also while servers restart, and the text stays that of plain decoding.
import { expect, test } from 'bun:test'
import { seededRandom } from '../../src/base/random.ts'
import { Generator, type GenerateOptions } from '../../src/client/generate.ts'
import { createSampler } from '../../src/client/sampler.ts'
import { fakeBlock } from '../support/fake-compute.ts'
import { FakeSwarm, startSession } from '../support/fake-swarm.ts'
import { diceSpeculation, fixedSpeculation, SeerDrafter, TinyLm } from '../support/tiny-lm.ts'

const BLOCKS = 6
const HIDDEN = 4
const VOCAB = 24

/** Rows and logits of four columns instead of TinyLm's one, so that the blocks' arithmetic counts. */
class BlockLm extends TinyLm {
  override embed(ids: readonly number[]): Float32Array {
    const rows = new Float32Array(ids.length * HIDDEN)
    for (const [row, id] of ids.entries()) {
      const random = seededRandom(id + 1)
      for (let i = 0; i < HIDDEN; i++) rows[row * HIDDEN + i] = random.next() - 0.5
    }
    return rows
  }

  override async head(hidden: Float32Array): Promise<Float32Array> {
    const rows = hidden.length / HIDDEN
    const logits = new Float32Array(rows * VOCAB)
    for (let row = 0; row < rows; row++) {
      for (let id = 0; id < VOCAB; id++) {
        let sum = 0
        for (let i = 0; i < HIDDEN; i++) {
          // Steep and uneven, so that a row that is a little wrong changes the choice.
          sum += Math.sin((hidden[row * HIDDEN + i] ?? 0) * 900 * (id + 1) + i)
        }
        logits[row * VOCAB + id] = sum
      }
    }
    return logits
  }
}

/** One pass of all rows through all blocks a token, without servers, sessions or roll-back. */
async function reference(
  lm: BlockLm,
  prompt: readonly number[],
  options: GenerateOptions
): Promise<number[]> {
  const sampler = createSampler(options)
  const text = [...prompt]
  while (text.length < prompt.length + (options.maxTokens ?? 0)) {
    const flat = lm.embed(text)
    let rows: Float32Array[] = text.map((_, at) => flat.slice(at * HIDDEN, (at + 1) * HIDDEN))
    for (let block = 0; block < BLOCKS; block++) {
      rows = rows.map((_, at) => fakeBlock(block, rows, at))
    }
    text.push(sampler.next(await lm.head(rows.at(-1) ?? new Float32Array()), text))
  }
  return text.slice(prompt.length)
}

async function threeServers(): Promise<FakeSwarm> {
  const swarm = new FakeSwarm(BLOCKS, HIDDEN)
  for (const first of [0, 2, 4]) await swarm.add(first, first + 2)
  return swarm
}

async function tell(
  generator: Generator,
  prompt: readonly number[],
  options: GenerateOptions,
  ontoken: (count: number) => Promise<void> | void = () => {}
): Promise<number[]> {
  const ids: number[] = []
  for await (const { id } of generator.generate(prompt, options)) {
    ids.push(id)
    await ontoken(ids.length)
  }
  return ids
}

const PROMPT = [3, 1, 4, 1, 5, 9]

for (const temperature of [0, 0.6]) {
  test(`wrong guesses are taken back on every server at temperature ${temperature}`, async () => {
    for (const seed of [1, 2, 3]) {
      const swarm = await threeServers()
      await using session = await startSession(swarm, { maxTokens: 64 })
      const lm = new BlockLm({ seed })
      const options = { temperature, seed, maxTokens: 40 }
      const plain = await reference(lm, PROMPT, options)
      const generator = new Generator(lm, session, {
        drafters: [new SeerDrafter([...PROMPT, ...plain], 0.7, seed)],
        speculation: diceSpeculation(seed)
      })
      expect({ seed, ids: await tell(generator, PROMPT, options) }).toEqual({ seed, ids: plain })
      const { drafted, accepted } = generator.stats
      expect([accepted > 10, drafted - accepted > 5]).toEqual([true, true])
      // The servers saw as many rows as were sent, and no row was sent twice for want of roll-back.
      const rows = swarm.peers.map(({ compute }) =>
        compute.steps.reduce((sum, step) => sum + step.count, 0)
      )
      const sent = PROMPT.length + generator.stats.trips + drafted
      expect(rows).toEqual([sent, sent, sent])
    }
  })
}

test('servers that restart between and within speculated trips change nothing', async () => {
  for (const seed of [1, 2, 3]) {
    const random = seededRandom(seed)
    const swarm = await threeServers()
    await swarm.add(0, 3)
    await swarm.add(3, 6)
    await using session = await startSession(swarm, { maxTokens: 64 })
    const lm = new BlockLm({ seed })
    const options = { temperature: 0.6, seed, maxTokens: 40 }
    const plain = await reference(lm, PROMPT, options)
    const generator = new Generator(lm, session, {
      drafters: [new SeerDrafter([...PROMPT, ...plain], 0.7, seed)],
      speculation: diceSpeculation(seed)
    })
    const ids = await tell(generator, PROMPT, options, async () => {
      if (random.next() > 0.15) return
      const victim = swarm.peers[random.below(swarm.peers.length)]
      if (victim && random.next() < 0.5) await swarm.restart(victim)
      // Within the trip: the answer to a step that is under way gets lost with the server.
      else if (victim) victim.compute.onstep = () => void swarm.restart(victim)
    })
    expect({ seed, ids }).toEqual({ seed, ids: plain })
    expect(session.reroutes).toBeGreaterThan(0)
  }
})

test('where two servers cannot reach each other the client carries guesses between them', async () => {
  const swarm = await threeServers()
  const [first, second] = swarm.peers
  if (first && second) first.unreachable.add(second.peer)
  await using session = await startSession(swarm, { maxTokens: 64 })
  const lm = new BlockLm({ seed: 1 })
  const options = { temperature: 0, maxTokens: 30 }
  const plain = await reference(lm, PROMPT, options)
  const generator = new Generator(lm, session, {
    drafters: [new SeerDrafter([...PROMPT, ...plain], 0.7, 1)],
    speculation: diceSpeculation(1)
  })
  expect(await tell(generator, PROMPT, options)).toEqual(plain)
})

test('a cancelled speculated trip leaves the conversation usable', async () => {
  const swarm = await threeServers()
  await using session = await startSession(swarm, { maxTokens: 64 })
  const lm = new BlockLm({ seed: 1 })
  const options = { temperature: 0, maxTokens: 30 }
  const plain = await reference(lm, PROMPT, options)
  const four = fixedSpeculation((offered) => Math.min(offered, 4))
  const generator = new Generator(lm, session, {
    drafters: [new SeerDrafter([...PROMPT, ...plain], 0.9, 1)],
    speculation: four
  })
  const controller = new AbortController()
  const [, second] = swarm.peers
  const cancelled = tell(generator, PROMPT, { ...options, signal: controller.signal }, (count) => {
    if (count === 8 && second) second.compute.onstep = () => controller.abort()
  })
  await expect(cancelled).rejects.toMatchObject({ code: 'CANCELLED' })
  if (second) second.compute.onstep = () => {}
  expect(await tell(generator, PROMPT, options)).toEqual(plain)
  expect(generator.stats.reusedTokens).toBe(PROMPT.length - 1)
})
