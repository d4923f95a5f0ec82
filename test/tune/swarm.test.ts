// Training over real servers on a network of this machine: one server, three, and three of which
// each one dies on the way give the same adapter, to the bit.
import { afterAll, expect, test } from 'bun:test'
import { systemClock } from '../../src/base/clock.ts'
import { toHex } from '../../src/base/bytes.ts'
import { Compute } from '../../src/blocks/compute.ts'
import { Client } from '../../src/client/client.ts'
import { openModel } from '../../src/model/open-model.ts'
import { Host } from '../../src/server/host.ts'
import type { SwarmNode } from '../../src/swarm/node.ts'
import type { TokenExample } from '../../src/tune/data/tokens.ts'
import { newValues, type TuneShape } from '../../src/tune/parameters.ts'
import { Chain } from '../../src/tune/swarm/chain.ts'
import { SwarmTraining } from '../../src/tune/swarm/train-swarm.ts'
import { Tuner } from '../../src/tune/tuner.ts'
import { storiesLocation } from '../support/models/stories.ts'
import { World } from '../swarm/world.ts'

const BLOCKS = 5
const STEPS = 3
const PARTS = [
  [0, 2],
  [2, 4],
  [4, 5]
] as const
const SHAPE: TuneShape = {
  method: 'lora',
  adapter: { rank: 2, scale: 2, targets: ['self_attn.q_proj', 'self_attn.v_proj', 'mlp.down_proj'] }
}

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

async function serve(world: World, start: number, end: number): Promise<Server> {
  const node = world.make()
  const model = await openModel(storiesLocation)
  const host = new Host({ compute: engine(), model, blocks: { start, end }, quant: 'f32', node })
  await host.ready()
  return { node, host }
}

/** Examples of different lengths, so that several micro-batches are under way. */
function examplesOf(step: number): TokenExample[] {
  return [7, 12, 3, 20].map((length, index) => ({
    ids: Array.from({ length }, (_, i) => 3 + ((i * 7 + index * 13 + step * 5) % 400)),
    learnt: Array.from({ length }, (_, i) => i > 0 && i % 3 !== 1),
    line: index + 1
  }))
}

interface Trained {
  readonly adapter: string
  readonly losses: readonly number[]
  readonly failed: number
}

/** Trains a few steps; `onstep` is called before each one. */
async function train(
  world: World,
  onstep: (step: number, swarm: SwarmTraining) => Promise<void> | void
): Promise<Trained> {
  const node = await world.node()
  const model = await openModel(storiesLocation)
  const { config, contentId } = model
  await using client = new Client({ node, compute: engine(), model, findMs: 10_000 })
  await client.ready()
  using swarm = new SwarmTraining({
    node,
    client,
    model: contentId,
    blockCount: BLOCKS,
    serves: { id: toHex(contentId), names: [] },
    clock: systemClock
  })
  let failed = 0
  const onfailure = (): void => void failed++
  const chain = new Chain({ swarm, blockCount: BLOCKS, clock: systemClock, onfailure })
  const values = newValues(config, SHAPE, 1)
  const tuner = new Tuner({ model: client.local, chain, shape: SHAPE, values, microRows: 16 })
  const losses: number[] = []
  for (let step = 0; step < STEPS; step++) {
    await onstep(step, swarm)
    const { signal } = new AbortController()
    const report = await tuner.step(examplesOf(step), { learningRate: 0.01, signal })
    losses.push(report.loss)
  }
  const bytes = new Uint8Array(tuner.values.adapter?.buffer ?? new ArrayBuffer(0))
  return { adapter: Bun.hash.xxHash3(bytes).toString(16), losses, failed }
}

let expected: Trained | undefined

test('one server', async () => {
  await using world = await World.start()
  const { host } = await serve(world, 0, BLOCKS)
  expected = await train(world, () => {})
  expect(expected.losses[2]).toBeLessThan(expected.losses[0] ?? 0)
  await host.close()
}, 120_000)

test('three servers give what one gives', async () => {
  await using world = await World.start()
  const servers = await Promise.all(PARTS.map(([start, end]) => serve(world, start, end)))
  const { adapter, losses } = await train(world, () => {})
  expect({ adapter, losses }).toEqual({ adapter: expected!.adapter, losses: expected!.losses })
  await Promise.all(servers.map(({ host }) => host.close()))
}, 120_000)

test('three servers, of which one dies at each step, give what one gives', async () => {
  await using world = await World.start()
  const servers = await Promise.all(PARTS.map(([start, end]) => serve(world, start, end)))
  const spares = await Promise.all(PARTS.map(([start, end]) => serve(world, start, end)))
  const ends: Promise<void>[] = []
  // It dies while the step is under way: of each blocks' two servers the one that is used.
  const kill = async (step: number, swarm: SwarmTraining): Promise<void> => {
    const hops = await swarm.plan({ start: 0, end: BLOCKS })
    const used = hops.find(({ start }) => start === PARTS[step]![0])!
    const { node } = [...servers, ...spares].find(({ host }) => host.peer === used.peer)!
    ends.push(Bun.sleep(0).then(() => node.close()))
  }
  const { adapter, losses, failed } = await train(world, kill)
  expect(failed).toBeGreaterThan(0)
  expect({ adapter, losses }).toEqual({ adapter: expected!.adapter, losses: expected!.losses })
  await Promise.all(ends)
  await Promise.all([...spares, ...servers].map(({ host }) => host.close()))
}, 180_000)
