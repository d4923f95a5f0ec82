// Sessions through blocks that this process computes and blocks of others: whatever happens, the
// rows that come out equal those of one undisturbed pass.
import { expect, test } from 'bun:test'
import type { BlockSpan } from '../../src/base/block-span.ts'
import { toHex } from '../../src/base/bytes.ts'
import { computeError } from '../../src/base/errors.ts'
import { seededRandom } from '../../src/base/random.ts'
import { PeerBook } from '../../src/client/route/peers.ts'
import type { Connections } from '../../src/client/route/links.ts'
import type { InferenceSession, SessionOptions } from '../../src/client/session/session.ts'
import { LocalBlocks, type HerePlan } from '../../src/here/local-blocks.ts'
import { openModel } from '../../src/model/open-model.ts'
import type { Model } from '../../src/model/types.ts'
import type { ServerInfo } from '../../src/wire/types.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'
import { FakeCompute, randomRows, throughFakeBlocks } from '../support/fakes/fake-compute.ts'
import { FakeSwarm, MODEL, startSession, type FakePeer } from '../support/fakes/fake-swarm.ts'
import { storiesLocation } from '../support/models/stories.ts'

const BLOCKS = 5
const HIDDEN = 64

class RoomyCompute extends FakeCompute {
  override async stats(): ReturnType<FakeCompute['stats']> {
    return { ...(await super.stats()), freeBytes: 2 ** 30 }
  }
}

function inputRows(count: number): Float32Array {
  return randomRows(count, HIDDEN, 5)
}

function reference(input: Float32Array): Float32Array {
  return throughFakeBlocks(input, BLOCKS, HIDDEN)
}

interface Scene {
  readonly swarm: FakeSwarm
  readonly here: LocalBlocks
  readonly compute: FakeCompute
  readonly session: InferenceSession
  readonly book: PeerBook
  readonly connections: Connections
  readonly find: () => Promise<readonly ServerInfo[]>
  /** Peers of the route: 'here', or the number of the server. */
  route(): string[]
  /** All rows that came out; `before(i)` runs before row i. */
  decode(rows: number, before?: (row: number) => unknown): Promise<Float32Array>
}

interface SceneOptions extends Partial<SessionOptions> {
  plan?: HerePlan
  /** Weights that are not on the disk, bytes. */
  fetchBytes?: number
  servers?: readonly BlockSpan[]
  clock?: FakeClock
}

async function scene(options: SceneOptions = {}): Promise<Scene> {
  const { plan = 'auto', servers = [], fetchBytes = 0, clock, ...more } = options
  const swarm = new FakeSwarm(BLOCKS, HIDDEN)
  // On a busy machine nothing here is silent for so long.
  swarm.liveness = { everyMs: 400, leastMs: 10_000 }
  for (const { start, end } of servers) await swarm.add(start, end)
  const real = await openModel(storiesLocation)
  const model = { ...facts(real, fetchBytes), contentId: MODEL } as Model
  const compute = new RoomyCompute(HIDDEN)
  const here = new LocalBlocks({ compute, model, plan, quant: 'f32' })
  await here.ready()
  const book = new PeerBook()
  const connections: Connections = {
    connect: async (peer) => here.connect(peer) ?? swarm.connect(peer),
    listen(session, events) {
      const stops = [here.listen(session, events), swarm.listen(session, events)]
      return () => stops.forEach((stop) => stop())
    }
  }
  const find = async (): Promise<readonly ServerInfo[]> => {
    const { infos, kept } = here
    book.noteOwn({ kept, peers: new Set(infos.map(({ peer }) => toHex(peer))) })
    return [...(await swarm.find()), ...infos]
  }
  const session = await startSession(swarm, {
    connections,
    book,
    find,
    optimizer: false,
    ...(clock ? { clock } : {}),
    ...more
  })
  const nameOf = (peer: string): string =>
    here.connect(peer) ? 'here' : String(swarm.peers.findIndex((one) => one.peer === peer))
  return {
    swarm,
    here,
    compute,
    session,
    book,
    connections,
    find,
    route: () => session.route.map(({ peer, start, end }) => `${nameOf(peer)} ${start}:${end}`),
    async decode(rows, before = () => {}) {
      const input = inputRows(rows)
      const out = new Float32Array(input.length)
      for (let row = 0; row < rows; row++) {
        await before(row)
        const { output } = await session.forward(row, input.slice(row * HIDDEN, (row + 1) * HIDDEN))
        out.set(output, row * HIDDEN)
        await clock?.advance(1000)
      }
      return out
    }
  }
}

function facts({ config, tensors, location }: Model, fetchBytes: number): Partial<Model> {
  return {
    config,
    tensors,
    location,
    missingBytes: () => fetchBytes,
    ensure: async () => {}
  }
}

test('all blocks are computed here where nobody else serves any', async () => {
  const { session, here, compute, route, decode } = await scene()
  await using _ = here
  await using __ = session
  expect(await decode(12)).toEqual(reference(inputRows(12)))
  expect([route(), compute.sessions.size]).toEqual([['here 0:5'], 1])
})

test('a long prompt goes through in chunks, and only the rows asked for come back', async () => {
  const { session, here, compute } = await scene()
  await using _ = here
  await using __ = session
  const input = inputRows(300)
  const { output } = await session.forward(0, input, { answerRows: 2 })
  expect(output).toEqual(reference(input).slice(-2 * HIDDEN))
  expect(compute.steps.map(({ count }) => count)).toEqual([128, 128, 44])
})

test('blocks of here stand before and behind those of others, and nobody pushes', async () => {
  const { session, here, swarm, route, decode } = await scene({
    servers: [{ start: 1, end: 3 }],
    fetchBytes: 1
  })
  await using _ = here
  await using __ = session
  const [server] = swarm.peers as [FakePeer]
  let pushes = 0
  server.onpush = () => void pushes++
  const gaps = [
    { start: 0, end: 1 },
    { start: 3, end: 5 }
  ]
  expect([here.spans, await here.fillGaps(gaps), here.spans]).toEqual([[], undefined, gaps])
  expect(await decode(8)).toEqual(reference(inputRows(8)))
  expect([route(), pushes]).toEqual([['here 0:1', '0 1:3', 'here 3:5'], 0])
})

test('a server that is killed is replaced by blocks of here, and the rows stay the same', async () => {
  const { session, here, swarm, book, route, decode } = await scene({
    servers: [{ start: 0, end: 5 }]
  })
  await using _ = here
  await using __ = session
  const [server] = swarm.peers as [FakePeer]
  server.info = { ...server.info, throughput: 1e6 }
  book.noteRtt(server.peer, 0)
  const routes: string[] = []
  const out = await decode(12, (row) => {
    routes.push(...route())
    if (row === 7) swarm.kill(server)
  })
  routes.push(...route())
  expect(out).toEqual(reference(inputRows(12)))
  expect([...new Set(routes)]).toEqual(['0 0:5', 'here 0:5'])
})

test('blocks of here that fail are replaced by a server, and the rows stay the same', async () => {
  const { session, here, compute, route, decode } = await scene({
    servers: [{ start: 0, end: 5 }]
  })
  await using _ = here
  await using __ = session
  const routes: string[] = []
  const out = await decode(12, (row) => {
    routes.push(...route())
    if (row !== 7) return
    compute.onstep = () => Promise.reject(computeError('no more'))
  })
  routes.push(...route())
  expect(out).toEqual(reference(inputRows(12)))
  expect([...new Set(routes)]).toEqual(['here 0:5', '0 0:5'])
})

test('a session whose blocks are given up here goes on with a server', async () => {
  const { session, here, route, decode } = await scene({ servers: [{ start: 0, end: 5 }] })
  await using _ = session
  const out = await decode(12, async (row) => {
    if (row === 7) await here.close()
  })
  expect([out, route()]).toEqual([reference(inputRows(12)), ['0 0:5']])
})

test('a session goes over to servers block by block when they are better, with the same rows', async () => {
  const clock = new FakeClock()
  const { session, here, swarm, compute, route, decode } = await scene({
    clock,
    optimizer: { firstMs: 0 },
    random: seededRandom(3)
  })
  await using _ = here
  await using __ = session
  compute.computeMs = () => 500
  const add = async (start: number, end: number): Promise<void> => {
    const server = await swarm.add(start, end)
    server.info = { ...server.info, throughput: 4000 }
  }
  const routes: string[] = []
  const out = await decode(34, async (row) => {
    routes.push(route().join(' > '))
    if (row === 5) await add(1, 3)
    if (row === 16) await add(3, 5)
  })
  expect(out).toEqual(reference(inputRows(34)))
  expect([...new Set(routes)]).toEqual([
    '',
    'here 0:5',
    'here 0:1 > 0 1:3 > here 3:5',
    'here 0:1 > 0 1:3 > 1 3:5'
  ])
  expect(session.reroutes).toBe(0)
})

test('no server is asked for blocks that are kept here, however fast it is', async () => {
  const { session, here, swarm, route, decode } = await scene({
    plan: { start: 0, end: 2 },
    servers: [{ start: 0, end: 5 }]
  })
  await using _ = here
  await using __ = session
  const [server] = swarm.peers as [FakePeer]
  server.info = { ...server.info, throughput: 1e6 }
  const opens: BlockSpan[] = []
  const open = server.server.open.bind(server.server)
  server.server.open = (link, message) => {
    opens.push({ start: message.start, end: message.end })
    return open(link, message)
  }
  expect(await decode(8)).toEqual(reference(inputRows(8)))
  expect([route(), opens]).toEqual([['here 0:2', '0 2:5'], [{ start: 2, end: 5 }]])
})

test('several sessions share the blocks of here', async () => {
  const one = await scene()
  await using _ = one.here
  await using __ = one.session
  const { connections, find } = one
  await using other = await startSession(one.swarm, { connections, find, optimizer: false })
  const input = inputRows(6)
  const [a, b] = await Promise.all([
    one.session.forward(0, input),
    other.forward(0, input.slice(0, 3 * HIDDEN))
  ])
  expect(a.output).toEqual(reference(input))
  expect(b.output).toEqual(reference(input.slice(0, 3 * HIDDEN)))
})
