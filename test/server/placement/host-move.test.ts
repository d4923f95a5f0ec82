// Hosts that choose their blocks, in a swarm of their own: when one goes, exactly one of the others
// takes its place, nobody's blocks are left alone meanwhile, and a session that runs gives the same
// rows.
import { expect, test } from 'bun:test'
import { toHex } from '../../../src/base/bytes.ts'
import { AppError } from '../../../src/base/errors.ts'
import { seededRandom } from '../../../src/base/random.ts'
import { sizesOf } from '../../../src/blocks/sizes.ts'
import type { ComputeStats, SpanInfo, SpanOptions } from '../../../src/blocks/types.ts'
import { swarmConnections } from '../../../src/client/connections.ts'
import { PeerBook } from '../../../src/client/route/peers.ts'
import { InferenceSession } from '../../../src/client/session/session.ts'
import { openModel } from '../../../src/model/open-model.ts'
import type { Model } from '../../../src/model/types.ts'
import { spanNeed } from '../../../src/server/placement/budget.ts'
import { Host, type HostOptions } from '../../../src/server/host.ts'
import { find } from '../../../src/swarm/directory.ts'
import type { SwarmNode } from '../../../src/swarm/node.ts'
import { FakeCompute, randomRows, throughFakeBlocks } from '../../support/fakes/fake-compute.ts'
import { storiesLocation } from '../../support/models/stories.ts'
import { until, World } from '../../swarm/world.ts'

const BLOCKS = 5
const HIDDEN = 64
const LENGTH = 3

/** An engine with room for three blocks, all equally fast. */
class RoomyCompute extends FakeCompute {
  readonly #model: Model
  failing: (options: SpanOptions) => boolean = () => false

  constructor(model: Model) {
    super(HIDDEN)
    this.#model = model
  }

  override async loadSpan(options: SpanOptions): Promise<SpanInfo> {
    if (this.failing(options)) throw new AppError('CORRUPT', 'The weights cannot be read')
    return this.span(options.start, options.end)
  }

  override async stats(): Promise<ComputeStats> {
    const sizes = sizesOf(this.#model.config, this.#model.tensors, 'f32')
    const need = spanNeed(sizes, { start: 0, end: LENGTH }, 4096)
    const freeBytes = need.totalBytes + need.weightBytes / LENGTH / 2
    return { weightBytes: 0, kvBytes: 0, sessions: this.sessions.size, freeBytes }
  }
}

interface Started {
  readonly host: Host
  readonly node: SwarmNode
  readonly compute: RoomyCompute
  /** Times that it began to serve other blocks, or the old ones again. */
  readonly moves: () => number
}

async function startHost(world: World, more: Partial<HostOptions> = {}): Promise<Started> {
  const model = await openModel(storiesLocation)
  const compute = new RoomyCompute(model)
  let moves = 0
  const node = world.make()
  const host = new Host({
    compute,
    onserving: () => void moves++,
    model,
    quant: 'f32',
    node,
    everyMs: 100,
    placement: { spreadMs: 150, stepMs: 50, drainMs: 5000, factor: 1.05 },
    random: seededRandom(1),
    ...more
  })
  await host.ready()
  return { host, node, compute, moves: () => moves }
}

function spanOf({ host }: Started): string | undefined {
  try {
    return `${host.span.start}:${host.span.end}`
  } catch {
    return undefined
  }
}

/** Two hosts on one range and one on the other, the lone one last. */
async function lopsided(world: World): Promise<Started[]> {
  const started: Started[] = []
  for (let i = 0; i < 3; i++) started.push(await startHost(world))
  const count = (span: string | undefined): number =>
    started.filter((one) => spanOf(one) === span).length
  expect(started.map(spanOf).sort()).toEqual(
    expect.arrayContaining(['0:3', '2:5']) as unknown as string[]
  )
  return started.sort((a, b) => count(spanOf(b)) - count(spanOf(a)))
}

async function startSession(world: World): Promise<InferenceSession> {
  const model = await openModel(storiesLocation)
  const node = await world.node()
  const connections = swarmConnections(node)
  const session = new InferenceSession({
    connections,
    book: new PeerBook(),
    find: async (signal) =>
      (await find(node, model.contentId, BLOCKS, { signal })).filter((info) => !info.draining),
    look: (signal) => find(node, model.contentId, BLOCKS, { signal }),
    model: model.contentId,
    blockCount: BLOCKS,
    hiddenSize: HIDDEN,
    maxTokens: 256,
    contextLength: 512,
    dtype: 'f32'
  })
  await session.ready()
  return session
}

function inputRows(count: number): Float32Array {
  return randomRows(count, HIDDEN, 2)
}

function reference(input: Float32Array): Float32Array<ArrayBuffer> {
  return throughFakeBlocks(input, BLOCKS, HIDDEN)
}

test('when a host goes, exactly one of two others takes its place, and a session goes on the same', async () => {
  await using world = await World.start()
  const all = await lopsided(world)
  const [one, other, lone] = all
  if (!one || !other || !lone) throw new Error('three hosts were started')
  const [double, alone] = [spanOf(one), spanOf(lone)]
  await using session = await startSession(world)
  const input = inputRows(40)
  const out = new Float32Array(input.length)
  const step = async (row: number): Promise<void> => {
    const { output } = await session.forward(row, input.slice(row * HIDDEN, (row + 1) * HIDDEN))
    out.set(output, row * HIDDEN)
  }
  for (let row = 0; row < 20; row++) await step(row)
  await lone.host.close()
  const unserved: string[] = []
  await until(() => {
    const served = [one, other].map(spanOf)
    if (!served.includes(double)) unserved.push(served.join())
    return served.includes(alone)
  })
  for (let row = 20; row < 40; row++) await step(row)
  expect(out).toEqual(reference(input))
  expect(unserved).toEqual([])
  expect([one, other].map(spanOf).sort()).toEqual(['0:3', '2:5'])
  expect(one.moves() + other.moves()).toBe(1)
  await Promise.all([one, other].map(({ host }) => host.close()))
}, 120_000)

test('a host that cannot load its new blocks serves the old ones again, and another moves', async () => {
  await using world = await World.start()
  const [one, other, lone] = await lopsided(world)
  if (!one || !other || !lone) throw new Error('three hosts were started')
  const [double, alone] = [spanOf(one), spanOf(lone)]
  // Whichever is first to try fails; the other then sees that nobody moves.
  const failed: Started[] = []
  for (const started of [one, other]) {
    started.compute.failing = ({ start, end }) => {
      if (`${start}:${end}` !== alone || (failed[0] ?? started) !== started) return false
      failed.push(started)
      return true
    }
  }
  await lone.host.close()
  await until(() => [one, other].some((started) => spanOf(started) === alone))
  expect(failed.length).toBe(1)
  expect(failed.map(spanOf)).toEqual([double])
  await Promise.all([one, other].map(({ host }) => host.close()))
}, 120_000)

test('a host whose blocks were chosen by hand stays, and is not waited for', async () => {
  await using world = await World.start()
  const free = await startHost(world)
  const fixed = await startHost(world, { blocks: { start: 0, end: 3 } })
  const lone = await startHost(world, { blocks: { start: 2, end: 5 } })
  expect(spanOf(free)).toBe('0:3')
  await lone.host.close()
  await until(() => spanOf(free) === '2:5')
  expect({ span: spanOf(fixed), moves: fixed.moves() }).toEqual({ span: '0:3', moves: 0 })
  await Promise.all([fixed, free].map(({ host }) => host.close()))
}, 120_000)

test('a server says how far those are that go on where it ends', async () => {
  await using world = await World.start()
  const before = await startHost(world, { blocks: { start: 0, end: 3 } })
  const after = await startHost(world, { blocks: { start: 3, end: 5 } })
  // Who is greeted now hears what records say a little later.
  const pingsOf = async ({ host }: Started): Promise<string[]> => {
    await using node = await world.node()
    const link = await node.connect(new Uint8Array(Buffer.from(host.peer, 'hex')))
    return link.servers.flatMap(({ pings }) => pings.map((ping) => toHex(ping.peer)))
  }
  await until(async () => (await pingsOf(before)).length > 0)
  expect(await pingsOf(before)).toEqual([after.host.peer])
  expect(await pingsOf(after)).toEqual([])
  await Promise.all([before, after].map(({ host }) => host.close()))
}, 120_000)
