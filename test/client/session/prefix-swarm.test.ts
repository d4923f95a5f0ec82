// What servers keep of a session, taken up by another one: fewer rows are run, and the text is that
// of an undisturbed run, whatever happens to the servers and the route meanwhile.
import { expect, test } from 'bun:test'
import { seededRandom } from '../../../src/base/random.ts'
import { Generator } from '../../../src/client/text/generate.ts'
import type { SessionOptions } from '../../../src/client/session/session.ts'
import { BlockLm, BLOCKS, HIDDEN, reference, tell } from '../../support/models/block-lm.ts'
import { FakeSwarm, startSession, type FakePeer } from '../../support/fakes/fake-swarm.ts'

const SECRET = new Uint8Array(32).fill(5)
const PROMPT = Array.from({ length: 150 }, (_, i) => (i * 7 + (i >> 3)) % 24)
const LM = new BlockLm({ seed: 1 })

async function threeServers(): Promise<FakeSwarm> {
  const swarm = new FakeSwarm(BLOCKS, HIDDEN)
  for (const first of [0, 2, 4]) await swarm.add(first, first + 2)
  return swarm
}

type Prefix = NonNullable<SessionOptions['prefix']>

interface Told {
  readonly ids: number[]
  /** Rows that each server ran for it. */
  readonly rows: number[]
  readonly reused: number
}

const OPTIONS = { temperature: 0, maxTokens: 8 }

/** One answer in a session of its own, which is closed behind it. */
async function ask(
  swarm: FakeSwarm,
  prompt: readonly number[],
  more: Partial<SessionOptions> = {},
  options: { temperature: number; maxTokens: number; seed?: number } = OPTIONS,
  ontoken: (count: number) => Promise<void> | void = () => {}
): Promise<Told> {
  for (const { compute } of swarm.peers) compute.steps = []
  const prefix: Prefix = { secret: SECRET }
  const session = await startSession(swarm, { prefix, maxTokens: 200, ...more })
  const generator = new Generator(LM, session)
  const ids = await tell(generator, prompt, { ...options, speculate: false }, ontoken)
  const reused = generator.stats.reusedTokens
  await session.close()
  await swarm.idle()
  const rows = swarm.peers.map(({ compute }) =>
    compute.steps.reduce((sum, one) => sum + one.count, 0)
  )
  return { ids, rows, reused }
}

function plain(prompt: readonly number[], options = OPTIONS): Promise<number[]> {
  return reference(LM, prompt, options)
}

for (const options of [OPTIONS, { temperature: 0.8, seed: 4, maxTokens: 8 }]) {
  test(`a new session's text is the same with what an earlier one left at ${options.temperature}`, async () => {
    const swarm = await threeServers()
    const longer = [...PROMPT, 5, 5, 6, 1, 2, 3]
    const first = await ask(swarm, PROMPT, {}, options)
    await swarm.reconnect()
    const second = await ask(swarm, longer, {}, options)
    expect([first.ids, second.ids]).toEqual([
      await plain(PROMPT, options),
      await plain(longer, options)
    ])
    // 144 is the last named length; the answer's last id is never sent.
    expect([first.reused, second.reused]).toEqual([0, 144])
    expect(second.rows).toEqual([19, 19, 19])
  })
}

test('the same prompt asked again costs its last row', async () => {
  const swarm = await threeServers()
  const first = await ask(swarm, PROMPT)
  const again = await ask(swarm, PROMPT)
  expect(again).toEqual({ ids: first.ids, rows: [8, 8, 8], reused: 149 })
})

test('a session that begins as one that still runs does costs what is new of it', async () => {
  const swarm = await threeServers()
  let second: number[] = []
  let reused = 0
  const first = await ask(swarm, PROMPT, {}, OPTIONS, async (count) => {
    if (count !== 3) return
    await using session = await startSession(swarm, { prefix: { secret: SECRET }, maxTokens: 200 })
    const generator = new Generator(LM, session)
    second = await tell(generator, PROMPT, { ...OPTIONS, speculate: false })
    reused = generator.stats.reusedTokens
  })
  expect([first.ids, second]).toEqual([await plain(PROMPT), await plain(PROMPT)])
  // Its last row alone is computed again.
  expect(reused).toBe(149)
})

test('the next turn of a conversation costs what is new of it', async () => {
  const swarm = await threeServers()
  const prefix = { secret: SECRET, stops: new Set([23]) }
  const { ids } = await ask(swarm, PROMPT, { prefix })
  // The last id of an answer is what stopped it, and is never fed.
  const next = [...PROMPT, ...ids.slice(0, -1), 23, 4, 2]
  const told = await ask(swarm, next, { prefix })
  expect(told).toEqual({ ids: await plain(next), rows: [10, 10, 10], reused: 157 })
})

test('prompts that only begin the same share that beginning, one after another', async () => {
  const swarm = await threeServers()
  await ask(swarm, PROMPT)
  const others = [1, 2, 3].map((id) => [...PROMPT.slice(0, 100), id, id, id])
  for (const other of others) {
    const { ids, reused } = await ask(swarm, other)
    expect({ ids, reused }).toEqual({ ids: await plain(other), reused: 96 })
  }
  // The first one's is still there as a whole.
  expect((await ask(swarm, PROMPT)).reused).toBe(149)
})

test('nobody else gets what a session left, nor anybody who does not ask', async () => {
  const swarm = await threeServers()
  await ask(swarm, PROMPT)
  const stranger = await ask(swarm, PROMPT, { prefix: { secret: new Uint8Array(32).fill(6) } })
  const silent = await ask(swarm, PROMPT, { prefix: undefined })
  expect([stranger.reused, silent.reused]).toEqual([0, 0])
  expect((await ask(swarm, PROMPT)).reused).toBe(149)
})

test('another model, another dtype or other blocks upstream are other names', async () => {
  const swarm = await threeServers()
  await ask(swarm, PROMPT)
  const halves = await ask(swarm, PROMPT, { dtype: 'bf16' })
  expect(halves.reused).toBe(0)
  const [first] = swarm.peers
  if (first) first.info = { ...first.info, quant: 'int8' }
  const { ids, rows, reused } = await ask(swarm, PROMPT)
  // What the first server keeps is good whatever it calls itself; what came of it elsewhere is not.
  expect({ ids, rows, reused }).toEqual({
    ids: await plain(PROMPT),
    rows: [157, 157, 157],
    reused: 0
  })
})

test('a session that asks for it leaves nothing, and takes along what was left', async () => {
  const swarm = await threeServers()
  const held = (): number[] => swarm.peers.map(({ server }) => server.kept.prefixes)
  await ask(swarm, PROMPT)
  expect(held()).toEqual([1, 1, 1])
  const last = await ask(swarm, PROMPT, { prefix: { secret: SECRET, forget: true } })
  expect(last.reused).toBe(149)
  expect(held()).toEqual([0, 0, 0])
  expect(swarm.peers.map(({ compute }) => compute.sessions.size)).toEqual([0, 0, 0])
})

for (const place of [0, 1, 2]) {
  test(`server ${place} killed after its prefix was used changes nothing`, async () => {
    const swarm = await threeServers()
    for (const first of [0, 2, 4]) await swarm.add(first, first + 2)
    const longer = [...PROMPT, 9, 8, 7]
    await ask(swarm, PROMPT)
    const told = await ask(swarm, longer, {}, OPTIONS, (count) => {
      if (count !== 3) return
      const victim = swarm.peers.filter(
        (peer) => !peer.dead && peer.info.start === place * 2 && peer.compute.steps.length > 0
      )
      for (const peer of victim) swarm.kill(peer)
    })
    expect({ ids: told.ids, reused: told.reused }).toEqual({
      ids: await plain(longer),
      reused: 144
    })
  })
}

test('a server that restarted empty runs all of it, the others what they must', async () => {
  const swarm = await threeServers()
  await ask(swarm, PROMPT)
  const [, middle] = swarm.peers
  if (middle) await swarm.restart(middle)
  const { ids, rows } = await ask(swarm, PROMPT)
  expect(ids).toEqual(await plain(PROMPT))
  // In the order of swarm.peers: the one that restarted is the last now. What it lacks comes from
  // the first.
  expect(rows).toEqual([157, 8, 157])
})

test('a session whose connections break goes on from what its servers kept', async () => {
  const swarm = await threeServers()
  const told = await ask(swarm, PROMPT, {}, OPTIONS, async (count) => {
    if (count === 4) await swarm.reconnect()
  })
  expect(told.ids).toEqual(await plain(PROMPT))
  // 150 of the prompt, 3 ids, then 144 are there: 9 again and 4 new ones.
  expect(told.rows).toEqual([166, 166, 166])
})

test('a published prompt serves others, and only under the key of who made it', async () => {
  const swarm = await threeServers()
  const system = PROMPT.slice(0, 70)
  const [maker, other] = [swarm.client, new Uint8Array(32).fill(0xc9)]
  const secretOf = (id: number): Uint8Array => new Uint8Array(32).fill(id)
  const published = (make: boolean, key = maker): NonNullable<Prefix['published']> => ({
    maker: key,
    length: system.length,
    make
  })
  await ask(swarm, [...system, 1, 2, 3], {
    prefix: { secret: secretOf(1), published: published(true) }
  })
  await swarm.reconnect(other)
  const asked = [...system, 4, 5, 6]
  const prefix = { secret: secretOf(2), published: published(false) }
  const told = await ask(swarm, asked, { prefix })
  expect({ ids: told.ids, reused: told.reused }).toEqual({ ids: await plain(asked), reused: 70 })
  // Who claims another's key puts it under its own.
  const forged = [...PROMPT.slice(0, 69), 3]
  const lies = { maker, length: 70, make: true }
  await ask(swarm, [...forged, 1], { prefix: { secret: secretOf(3), published: lies } })
  const victim = { secret: secretOf(4), published: { maker, length: 70, make: false } }
  expect((await ask(swarm, [...forged, 2], { prefix: victim })).reused).toBe(0)
})

for (const held of [96, 97]) {
  test(`${held} rows that a lying server claims to hold are run all the same`, async () => {
    const swarm = await threeServers()
    const liar = swarm.peers[2]
    const spare = await swarm.add(4, 6)
    if (liar) {
      const open = liar.server.open.bind(liar.server)
      liar.server.open = async (link, message) => {
        const { opened } = link
        link.opened = (answer) => opened({ ...answer, held })
        await open(link, message)
        link.opened = opened
      }
    }
    const { ids } = await ask(swarm, PROMPT)
    expect(ids).toEqual(await plain(PROMPT))
    expect(spare.compute.steps.length).toBeGreaterThan(0)
  })
}

test('a server that answers out of order is avoided', async () => {
  const swarm = await threeServers()
  const liar = swarm.peers[1]
  const spare = await swarm.add(2, 4)
  const prompt = Array.from({ length: 300 }, (_, i) => (i * 5 + (i >> 4)) % 24)
  const held: Parameters<NonNullable<FakePeer['tamper']>>[0][] = []
  if (liar) {
    liar.tamper = (said, send) => {
      if (said.kind !== 'result') return send(said)
      held.push(said)
      if (held.length === 2) for (const one of held.toReversed()) send(one)
      if (held.length > 2) send(said)
    }
  }
  const told = await ask(swarm, prompt, { maxTokens: 400 })
  expect(told.ids).toEqual(await plain(prompt))
  expect(spare.compute.steps.length).toBeGreaterThan(0)
})

test('what a lying server made others compute is not found without it', async () => {
  const swarm = await threeServers()
  const [liar] = swarm.peers
  if (liar) {
    liar.onpush = (step, push) => {
      const data = step.tensor.data.slice()
      for (let sign = 3; sign < data.length; sign += 4) data[sign] = (data[sign] ?? 0) ^ 0x80
      push({ ...step, tensor: { ...step.tensor, data } })
    }
  }
  const lied = await ask(swarm, PROMPT)
  if (liar) swarm.kill(liar)
  await swarm.add(0, 2)
  const told = await ask(swarm, PROMPT)
  const ids = await plain(PROMPT)
  expect([Bun.deepEquals(lied.ids, ids), told.ids, told.reused]).toEqual([false, ids, 0])
})

test('speculation, new questions and breaks at seeded moments leave no wrong names behind', async () => {
  for (const seed of [1, 2, 3]) {
    const random = seededRandom(seed)
    const swarm = await threeServers()
    await swarm.add(0, 3)
    await swarm.add(3, 6)
    const texts = [0, 1, 2].map((id) => [...PROMPT.slice(0, 40 + 30 * id), id, 3, id, 3, id, 3])
    for (let round = 0; round < 8; round++) {
      const session = await startSession(swarm, { prefix: { secret: SECRET }, maxTokens: 200 })
      const generator = new Generator(LM, session)
      for (let turn = 0; turn < 2; turn++) {
        const prompt = texts[random.below(texts.length)] ?? PROMPT
        const options = { temperature: 0, maxTokens: 6 + random.below(20) }
        const ids = await tell(generator, prompt, options, async () => {
          if (random.next() < 0.05) await swarm.reconnect()
          const victim = swarm.peers[random.below(swarm.peers.length)] as FakePeer
          if (random.next() < 0.03) await swarm.restart(victim)
        })
        expect({ seed, round, ids }).toEqual({ seed, round, ids: await plain(prompt, options) })
      }
      await session.close()
      await swarm.idle()
    }
    const hits = swarm.peers.reduce((sum, { server }) => sum + server.kept.hits, 0)
    expect(hits).toBeGreaterThan(0)
  }
})
