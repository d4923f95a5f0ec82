// Training over real servers on a network of this machine: one server, three, and three of which
// each one dies on the way give the same adapter, to the bit.
import { afterAll, expect, test } from 'bun:test'
import { adapterNumbers } from '../../src/blocks/train/adapter-shape.ts'
import { openModel } from '../../src/model/open-model.ts'
import { status } from '../../src/swarm/directory.ts'
import type { SwarmTraining } from '../../src/tune/swarm/train-swarm.ts'
import { storiesLocation } from '../support/models/stories.ts'
import { World } from '../swarm/world.ts'
import {
  BLOCKS,
  closeEngines,
  serve,
  SHAPE,
  STEP_ROWS,
  STEPS,
  train,
  type Trained
} from './support/train-world.ts'

const ALL = { start: 0, end: BLOCKS }
const PARTS = [
  { start: 0, end: 2 },
  { start: 2, end: 4 },
  { start: 4, end: 5 }
]

afterAll(closeEngines)

let expected: Trained | undefined

test('one server', async () => {
  await using world = await World.start()
  const { host } = await serve(world, ALL)
  expected = await train(world)
  expect(expected.losses[2]).toBeLessThan(expected.losses[0] ?? 0)
  // Micro-batches are under way together: the adapter is brought once for all of them.
  const { config, contentId } = await openModel(storiesLocation)
  const rows = STEP_ROWS * config.hiddenSize * 3
  expect(expected.sentBytes).toBe(4 * STEPS * (adapterNumbers(config, SHAPE.adapter, ALL) + rows))
  const [seen] = await status(await world.node(), contentId, BLOCKS)
  expect(seen?.trainedTokens).toBe(2 * STEPS * STEP_ROWS)
  await host.close()
}, 120_000)

test('three servers give what one gives', async () => {
  await using world = await World.start()
  const servers = await Promise.all(PARTS.map((part) => serve(world, part)))
  const { adapter, losses, failures } = await train(world)
  expect(failures).toEqual([])
  expect({ adapter, losses }).toEqual({ adapter: expected!.adapter, losses: expected!.losses })
  await Promise.all(servers.map(({ host }) => host.close()))
}, 120_000)

test('three servers, of which one dies at each step, give what one gives', async () => {
  await using world = await World.start()
  const servers = await Promise.all(PARTS.map((part) => serve(world, part)))
  const spares = await Promise.all(PARTS.map((part) => serve(world, part)))
  const ends: Promise<void>[] = []
  // It dies while the step is under way: of each blocks' two servers the one that is used.
  const kill = async (step: number, swarm: SwarmTraining): Promise<void> => {
    const hops = await swarm.plan(ALL)
    const used = hops.find(({ start }) => start === PARTS[step]!.start)!
    const { node } = [...servers, ...spares].find(({ host }) => host.peer === used.peer)!
    ends.push(Bun.sleep(0).then(() => node.close()))
  }
  const { adapter, losses, failures } = await train(world, { onstep: kill })
  expect(failures.length).toBeGreaterThan(0)
  expect({ adapter, losses }).toEqual({ adapter: expected!.adapter, losses: expected!.losses })
  await Promise.all(ends)
  await Promise.all([...spares, ...servers].map(({ host }) => host.close()))
}, 180_000)
