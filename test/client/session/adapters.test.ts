// Sessions with adapters over real servers on a network of this machine: the same text whoever
// computes it, while servers die, from kept prefixes, with guesses, and here.
import { afterAll, describe, expect, test } from 'bun:test'
import { adapterNumbers, adapterParts } from '../../../src/blocks/train/adapter-shape.ts'
import { Compute } from '../../../src/blocks/compute.ts'
import { Client } from '../../../src/client/client.ts'
import type { WeightedPack } from '../../../src/client/session/session-adapters.ts'
import { Generator } from '../../../src/client/text/generate.ts'
import { LocalBlocks } from '../../../src/here/local-blocks.ts'
import { openModel } from '../../../src/model/open-model.ts'
import type { Model } from '../../../src/model/types.ts'
import { Host, type HostOptions } from '../../../src/server/host.ts'
import type { SwarmNode } from '../../../src/swarm/node.ts'
import { AdapterPack } from '../../../src/weights/adapters/adapter-pack.ts'
import { Numbers } from '../../kernels/support/world.ts'
import { readReferences, storiesLocation } from '../../support/models/stories.ts'
import { World } from '../../swarm/world.ts'

const BLOCKS = 5
const SECRET = { secret: new Uint8Array(32).fill(5) }
const MOST = 24

/** Every engine of the test: servers that are killed leave theirs behind. */
const engines: Compute[] = []
afterAll(() => Promise.all(engines.map((engine) => engine.close())))

function engine(): Compute {
  const made = new Compute({ threads: 1, memoryBytes: 256 * 2 ** 20 })
  engines.push(made)
  return made
}

interface Server {
  readonly node: SwarmNode
  readonly host: Host
}

async function serve(
  world: World,
  [start, end]: readonly [number, number],
  more: Partial<HostOptions> = {}
): Promise<Server> {
  const node = world.make()
  const model = await openModel(storiesLocation)
  const blocks = { start, end }
  const host = new Host({ compute: engine(), model, blocks, quant: 'f32', node, ...more })
  await host.ready()
  return { node, host }
}

const model = await openModel(storiesLocation)
afterAll(() => model.close())

/** Adapters that change what the model says: two of low rank, a prompt, and deep prompts. */
function packs(of: Model): {
  first: AdapterPack
  second: AdapterPack
  prompt: AdapterPack
  deep: AdapterPack
} {
  const numbers = new Numbers(3)
  const { config } = of
  const all = adapterParts(config).map(({ target }) => target)
  const lora = (rank: number, targets: readonly string[]): AdapterPack => {
    const shape = { rank, scale: 2, targets }
    const count = adapterNumbers(config, shape, { start: 0, end: BLOCKS })
    return new AdapterPack({ lora: { shape, values: numbers.floats(count, 0.12) } }, of)
  }
  const prompt = numbers.floats(3 * config.hiddenSize, 0.3)
  const deepPrompt = numbers.floats(BLOCKS * prompt.length, 0.3)
  return {
    first: lora(4, all),
    second: lora(2, ['self_attn.q_proj', 'mlp.down_proj']),
    prompt: new AdapterPack({ prompt }, of),
    deep: new AdapterPack({ prompt, deepPrompt }, of)
  }
}

const { first, second, prompt, deep } = packs(model)
const MIXES: Readonly<Record<string, readonly WeightedPack[]>> = {
  none: [],
  first: [{ pack: first }],
  mixed: [
    { pack: first, weight: 0.5 },
    { pack: second, weight: -1 }
  ],
  prompt: [{ pack: prompt }],
  deep: [{ pack: deep }, { pack: second }]
}

const [reference] = readReferences()
const START = [...(reference?.promptIds ?? []), ...(reference?.ids.slice(0, 40) ?? [])]

interface Told {
  readonly ids: readonly number[]
  readonly reused: number
  readonly reroutes: number
}

/** A greedy answer over the world's servers; `ontoken` is called after each token. */
async function ask(
  world: World,
  adapters: readonly WeightedPack[],
  more: {
    ontoken?: (count: number, route: readonly string[]) => Promise<void> | void
    speculate?: boolean
    here?: LocalBlocks
    compute?: Compute
  } = {}
): Promise<Told> {
  await using own = new AsyncDisposableStack()
  const node = await world.node()
  const { here, compute = engine(), speculate = false, ontoken = () => {} } = more
  const client = own.use(
    new Client({
      node,
      compute,
      here,
      model: await openModel(storiesLocation),
      prefix: SECRET,
      findMs: 10_000
    })
  )
  await client.ready()
  const session = own.use(await client.openSession(200, undefined, undefined, adapters))
  const generator = new Generator(client.local, session)
  const ids: number[] = []
  const options = { temperature: 0, maxTokens: MOST, speculate }
  for await (const { id } of generator.generate(START, options)) {
    ids.push(id)
    await ontoken(
      ids.length,
      session.route.map(({ peer }) => peer)
    )
  }
  return { ids, reused: generator.stats.reusedTokens, reroutes: session.reroutes }
}

/** What one server says, by the name of the mix. */
const expected = new Map<string, readonly number[]>()

test('each mix of adapters says something of its own, on one server', async () => {
  await using world = await World.start()
  const { host } = await serve(world, [0, BLOCKS])
  for (const [name, mix] of Object.entries(MIXES)) {
    const { ids } = await ask(world, mix)
    expected.set(name, ids)
  }
  expect(new Set([...expected.values()].map(String)).size).toBe(Object.keys(MIXES).length)
  await host.close()
}, 120_000)

describe('the same text', () => {
  test('comes over two servers, all mixes at once, and again from what they kept', async () => {
    await using world = await World.start()
    const servers = [await serve(world, [0, 2]), await serve(world, [2, BLOCKS])]
    const names = Object.keys(MIXES)
    const told = await Promise.all(names.map((name) => ask(world, MIXES[name] ?? [])))
    expect(told.map(({ ids }) => ids)).toEqual(names.map((name) => expected.get(name) ?? []))
    // All begin with the same ids, and each finds only what was computed as it is.
    const again = await Promise.all(names.map((name) => ask(world, MIXES[name] ?? [])))
    expect(again.map(({ ids }) => ids)).toEqual(names.map((name) => expected.get(name) ?? []))
    expect(again.every(({ reused }) => reused >= START.length - 1)).toBe(true)
    for (const { host } of servers) {
      expect(host.serving?.server.adapters?.all.map(({ name }) => name).sort()).toEqual(
        [first, second, prompt, deep].map(({ name }) => name).sort()
      )
      await host.close()
    }
  }, 120_000)

  test('goes on when its server is killed, and the next one is given the adapters', async () => {
    await using world = await World.start()
    await serve(world, [0, 2])
    const servers = [await serve(world, [2, BLOCKS]), await serve(world, [2, BLOCKS])]
    for (const name of ['mixed', 'deep']) {
      let killed: Promise<void> | undefined
      const { ids, reroutes } = await ask(world, MIXES[name] ?? [], {
        async ontoken(count, route) {
          if (count !== 6) return
          const used = servers.find(({ host }) => route.includes(host.peer))
          killed = used?.node.close()
          servers.push(await serve(world, [2, BLOCKS]))
        }
      })
      await killed
      expect({ name, ids }).toEqual({ name, ids: [...(expected.get(name) ?? [])] })
      expect(reroutes).toBeGreaterThan(0)
    }
  }, 120_000)

  test('comes with guessed tokens', async () => {
    await using world = await World.start()
    await serve(world, [0, BLOCKS])
    for (const name of ['first', 'deep']) {
      const { ids } = await ask(world, MIXES[name] ?? [], { speculate: true })
      expect(ids).toEqual([...(expected.get(name) ?? [])])
    }
  }, 120_000)

  test('comes from blocks that this process computes itself', async () => {
    await using world = await World.start()
    const compute = engine()
    const own = await openModel(storiesLocation)
    for (const name of ['none', 'mixed', 'deep']) {
      await using here = new LocalBlocks({ compute, model: own, plan: 'all', quant: 'f32' })
      const { ids } = await ask(world, MIXES[name] ?? [], { here, compute })
      expect({ name, ids }).toEqual({ name, ids: [...(expected.get(name) ?? [])] })
    }
    own.close()
  }, 120_000)
})

test('a server without memory for adapters is not asked, and the reason is said', async () => {
  await using world = await World.start()
  await serve(world, [0, BLOCKS], { adapterBytes: 0 })
  expect((await ask(world, [])).ids).toEqual([...(expected.get('none') ?? [])])
  await expect(ask(world, MIXES['first'] ?? [])).rejects.toMatchObject({
    code: 'NO_ROUTE',
    message: expect.stringContaining('cannot use any')
  })
}, 120_000)

test('a server drops the adapter that was used longest ago when it needs the room', async () => {
  await using world = await World.start()
  const sizes = engine()
  const { host } = await serve(world, [0, BLOCKS], { adapterBytes: 450_000, compute: sizes })
  const names = (): readonly string[] =>
    host.serving?.server.adapters?.all.map(({ name }) => name) ?? []
  await ask(world, [{ pack: first }])
  expect(names()).toEqual([first.name])
  expect((await ask(world, [{ pack: second }])).ids).not.toEqual([...(expected.get('none') ?? [])])
  expect(names()).toEqual([second.name])
  expect((await ask(world, [{ pack: first }])).ids).toEqual([...(expected.get('first') ?? [])])
  await host.close()
}, 120_000)
