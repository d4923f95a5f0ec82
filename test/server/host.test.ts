// A host over a node that others use too: what it leaves to the node's owner, and when it gives up.
import { expect, test } from 'bun:test'
import type { AppError } from '../../src/base/errors.ts'
import type { SpanInfo, SpanOptions } from '../../src/blocks/types.ts'
import { openModel } from '../../src/model/open-model.ts'
import { Host } from '../../src/server/host.ts'
import { find } from '../../src/swarm/directory.ts'
import { createIdentity } from '../../src/swarm/identity.ts'
import type { SwarmNode } from '../../src/swarm/node.ts'
import { FakeCompute } from '../support/fakes/fake-compute.ts'
import { storiesLocation } from '../support/models/stories.ts'
import { AMPLE, World } from '../swarm/world.ts'

const BLOCKS = 5
const HIDDEN = 64

class CountingCompute extends FakeCompute {
  loaded = 0

  override async stats(): ReturnType<FakeCompute['stats']> {
    return { ...(await super.stats()), freeBytes: 256 * 1024 * 1024 }
  }

  override async loadSpan(options: SpanOptions): Promise<SpanInfo> {
    this.loaded++
    return super.loadSpan(options)
  }

  override async unloadSpan(): Promise<void> {
    this.loaded--
  }
}

async function hostOver(node: SwarmNode, compute = new CountingCompute(HIDDEN)): Promise<Host> {
  const model = await openModel(storiesLocation)
  return new Host({ compute, model, blocks: { start: 0, end: BLOCKS }, quant: 'f32', node })
}

test('a host under a copied identity says so, frees what it loaded, and leaves the first alone', async () => {
  await using world = await World.start()
  const identity = createIdentity()
  const node = world.make({ identity })
  await using first = await hostOver(node)
  await first.ready()
  const compute = new CountingCompute(HIDDEN)
  const copy = await hostOver(world.make({ identity }), compute)
  const error = await copy.ready().catch((thrown: AppError) => thrown)
  await copy.close()
  expect(error).toMatchObject({ code: 'IN_USE', hint: expect.stringContaining('--identity') })
  expect(compute.loaded).toBe(0)
  const { contentId } = await openModel(storiesLocation)
  const asking = await world.node()
  const found = await find(asking, contentId, BLOCKS, { ...AMPLE, enough: (all) => all.length > 0 })
  expect(found.map((info) => [info.start, info.end, info.draining])).toEqual([[0, BLOCKS, false]])
  const link = await asking.connect(node.key)
  expect(link.servers.map(({ end }) => end)).toEqual([BLOCKS])
}, 60_000)

test('a host leaves the swarm when it closes, and the node to its owner', async () => {
  await using world = await World.start()
  const node = world.make()
  const host = await hostOver(node)
  await host.ready()
  const client = await world.node()
  const left = Promise.withResolvers<void>()
  client.handle({ onannounce: (_, { servers }) => void (servers.length === 0 && left.resolve()) })
  const link = await client.connect(node.key)
  await host.close()
  await left.promise
  expect([node.closed, link.closed, link.servers]).toEqual([false, false, []])
  // Nobody serves there now: what is asked goes unanswered, and disturbs nobody.
  link.open({
    session: new Uint8Array(16),
    model: new Uint8Array(32),
    start: 0,
    end: 1,
    maxTokens: 1
  })
  expect(await link.ping(30_000)).toBeGreaterThan(0)
}, 60_000)
