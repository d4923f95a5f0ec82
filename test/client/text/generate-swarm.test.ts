// Speculation over sessions and real BlockServers: what was guessed wrongly is taken back on every
// server of the chain, also while servers restart, and the text stays that of plain decoding.
import { expect, test } from 'bun:test'
import { seededRandom } from '../../../src/base/random.ts'
import { Generator } from '../../../src/client/text/generate.ts'
import { BlockLm, BLOCKS, HIDDEN, reference, tell } from '../../support/models/block-lm.ts'
import { FakeSwarm, startSession } from '../../support/fakes/fake-swarm.ts'
import { diceSpeculation, fixedSpeculation, SeerDrafter } from '../../support/models/tiny-lm.ts'

async function threeServers(): Promise<FakeSwarm> {
  const swarm = new FakeSwarm(BLOCKS, HIDDEN)
  for (const first of [0, 2, 4]) await swarm.add(first, first + 2)
  return swarm
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

test('of a prompt that was cancelled, what was computed is not computed again', async () => {
  const swarm = await threeServers()
  await using session = await startSession(swarm, { maxTokens: 700 })
  const lm = new BlockLm({ seed: 1 })
  const prompt = Array.from({ length: 600 }, (_, i) => PROMPT[i % PROMPT.length] ?? 0)
  const options = { temperature: 0, maxTokens: 5 }
  const plain = await reference(lm, prompt, options)
  const generator = new Generator(lm, session)
  const controller = new AbortController()
  const { signal } = controller
  const onprompt = (done: number): void => {
    if (done > 0) controller.abort()
  }
  const cancelled = tell(generator, prompt, { ...options, signal, onprompt })
  await expect(cancelled).rejects.toMatchObject({ code: 'CANCELLED' })
  const computed = generator.fed.length
  expect(computed).toBeGreaterThan(0)
  expect(computed).toBeLessThan(600)
  expect(await tell(generator, prompt, options)).toEqual(plain)
  expect(generator.stats.reusedTokens).toBe(computed)
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

test('how much of a long prompt was computed is told, from nothing to all of it', async () => {
  const swarm = await threeServers()
  await using session = await startSession(swarm, { maxTokens: 1024 })
  const generator = new Generator(new BlockLm({ seed: 1 }), session)
  const prompt = Array.from({ length: 700 }, (_, i) => i % 50)
  const told: [number, number][] = []
  const onprompt = (done: number, total: number): void => void told.push([done, total])
  await tell(generator, prompt, { temperature: 0, maxTokens: 2, onprompt })
  const done = told.map(([one]) => one)
  expect(new Set(told.map(([, total]) => total))).toEqual(new Set([700]))
  expect([done[0], done.at(-1), done.length > 3]).toEqual([0, 700, true])
  expect(done).toEqual(done.toSorted((a, b) => a - b))
})
