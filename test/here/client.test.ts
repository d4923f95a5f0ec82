// One process, the real engine, and a swarm that is there, comes, goes, or was never there.
import { afterAll, beforeAll, expect, test } from 'bun:test'
import type { BlockSpan } from '../../src/base/block-span.ts'
import { cancelled } from '../../src/base/errors.ts'
import { Compute } from '../../src/blocks/compute.ts'
import type { ComputeApi } from '../../src/blocks/types.ts'
import { Client } from '../../src/client/client.ts'
import { Generator } from '../../src/client/text/generate.ts'
import { LocalBlocks, type HerePlan } from '../../src/here/local-blocks.ts'
import { openModel } from '../../src/model/open-model.ts'
import { Host } from '../../src/server/host.ts'
import type { SwarmNode } from '../../src/swarm/node.ts'
import { readReferences, storiesLocation } from '../support/models/stories.ts'
import { World } from '../swarm/world.ts'

const BLOCKS = 5
const stack = new AsyncDisposableStack()
let ample: Compute

beforeAll(() => {
  ample = stack.use(new Compute({ threads: 1, memoryBytes: 2 ** 28 }))
})

afterAll(() => stack.disposeAsync())

async function serve(node: SwarmNode, { start, end }: BlockSpan): Promise<Host> {
  const model = await openModel(storiesLocation)
  const host = new Host({ compute: ample, model, blocks: { start, end }, quant: 'f32', node })
  await host.ready()
  return host
}

interface Asked {
  plan: HerePlan
  /** Weights that are not on the disk, bytes. */
  fetchBytes?: number
  /** Default: with room for all. */
  compute?: ComputeApi
  ontoken?: (count: number, route: readonly string[]) => unknown
}

const [golden] = readReferences()

/** The ids of an answer, and the routes that it went by. */
async function ask(
  node: SwarmNode,
  { plan, fetchBytes = 0, compute = ample, ontoken }: Asked
): Promise<{ ids: number[]; routes: string[] }> {
  await using own = new AsyncDisposableStack()
  const model = await openModel(storiesLocation)
  model.missingBytes = () => fetchBytes
  const here = own.use(new LocalBlocks({ compute, model, plan, quant: 'f32' }))
  const client = own.use(new Client({ node, compute, model, here }))
  await client.ready()
  const session = own.use(await client.openSession())
  const generator = new Generator(client.local, session)
  const names = (): string[] =>
    session.route.map(({ peer, start, end }) => {
      return `${here.connect(peer) ? 'here' : 'there'} ${start}:${end}`
    })
  const ids: number[] = []
  const routes = new Set<string>()
  const { promptIds = [] } = golden ?? {}
  const options = { temperature: 0, maxTokens: 40, speculate: false }
  for await (const { id } of generator.generate(promptIds, options)) {
    ids.push(id)
    routes.add(names().join(' > '))
    await ontoken?.(ids.length, names())
  }
  return { ids, routes: [...routes] }
}

/** The engine, whose loading of blocks ends when it is cancelled alone. */
function neverLoading(): ComputeApi {
  return new Proxy<ComputeApi>(ample, {
    get(target, key) {
      if (key === 'loadSpan') {
        return (_: unknown, signal: AbortSignal) =>
          new Promise((_resolve, reject) => {
            signal.addEventListener('abort', () => reject(cancelled('Loading was cancelled')))
          })
      }
      const value: unknown = Reflect.get(target, key, target)
      return typeof value === 'function' ? value.bind(target) : value
    }
  })
}

const expected = golden?.ids.slice(0, 40) ?? []

test('an answer is made here where no DHT answers', async () => {
  await using world = await World.start()
  const node = world.make({ bootstrap: [{ host: '127.0.0.1', port: 9 }] })
  expect(await ask(node, { plan: 'auto' })).toEqual({ ids: expected, routes: [`here 0:${BLOCKS}`] })
}, 60_000)

test('an answer is made here while the swarm has no server', async () => {
  await using world = await World.start()
  expect(await ask(await world.node(), { plan: 'auto' })).toEqual({
    ids: expected,
    routes: [`here 0:${BLOCKS}`]
  })
}, 60_000)

test('the first blocks stay here, and a server has the others', async () => {
  await using world = await World.start()
  await using _ = await serve(world.make(), { start: 0, end: BLOCKS })
  const told = await ask(await world.node(), { plan: { start: 0, end: 2 } })
  expect(told).toEqual({ ids: expected, routes: ['here 0:2 > there 2:5'] })
}, 60_000)

test('an answer goes on here when its server is gone and nobody else has its blocks', async () => {
  await using world = await World.start()
  const server = world.make()
  const host = await serve(server, { start: 0, end: BLOCKS })
  const told = await ask(await world.node(), {
    plan: 'auto',
    // What is not on the disk is left to others as long as there are some.
    fetchBytes: 1,
    ontoken: async (count) => {
      if (count !== 9) return
      await server.close()
      await host.close()
    }
  })
  expect(told).toEqual({ ids: expected, routes: ['there 0:5', 'here 0:5'] })
}, 60_000)

test('nobody waits for blocks to be loaded here when the swarm serves all of them', async () => {
  await using world = await World.start()
  await using _ = await serve(world.make(), { start: 0, end: BLOCKS })
  // Loading ends by being given up.
  const told = await ask(await world.node(), { plan: 'auto', compute: neverLoading() })
  expect(told).toEqual({ ids: expected, routes: ['there 0:5'] })
}, 60_000)

test('what fits nowhere is told with what is missing, and what would serve it', async () => {
  await using world = await World.start()
  await using small = new Compute({ threads: 1, memoryBytes: 400_000 })
  const asking = ask(await world.node(), { plan: 'auto', compute: small })
  expect(asking).rejects.toMatchObject({
    code: 'NO_ROUTE',
    message: expect.stringMatching(
      /nobody serves blocks 0:5 \(Blocks 0:5 do not fit here: .* are missing\)$/
    ),
    hint: expect.stringContaining('petals join MODEL')
  })
  await asking.catch(() => {})
}, 60_000)
