// Who is planned for a training's steps: a search for servers ends with the first that serve every
// block, and they may take no training.
import { expect, test } from 'bun:test'
import { systemClock, type Clock } from '../../src/base/clock.ts'
import { PeerBook } from '../../src/client/route/peers.ts'
import type { SwarmNode } from '../../src/swarm/node.ts'
import { SwarmTraining } from '../../src/tune/swarm/train-swarm.ts'
import type { ServerInfo } from '../../src/wire/types.ts'
import { BLOCKS, infoOf, MODEL } from '../swarm/world.ts'

const server = (id: number, more: Partial<ServerInfo> = {}): ServerInfo =>
  infoOf(0, BLOCKS, { peer: new Uint8Array(32).fill(id), ...more })
const device = server(1, { noTraining: true })
const leaving = server(2, { draining: true })
const honest = server(3)

const SPAN = { start: 0, end: BLOCKS }

function trainingOver(
  servers: () => readonly ServerInfo[],
  look: () => readonly ServerInfo[],
  clock: Clock = systemClock
): SwarmTraining {
  return new SwarmTraining({
    node: { handle: () => () => {} } as unknown as SwarmNode,
    client: { servers: async () => servers(), look: async () => look(), book: new PeerBook() },
    model: MODEL,
    blockCount: BLOCKS,
    serves: { id: Buffer.from(MODEL).toString('hex'), names: [] },
    clock
  })
}

async function planOver(
  known: readonly ServerInfo[],
  all: readonly ServerInfo[]
): Promise<string[]> {
  const hops = await trainingOver(
    () => known,
    () => all
  ).plan(SPAN)
  return hops.map(({ peer }) => peer.slice(0, 2))
}

test('plans with a server that the search for every block did not reach', async () => {
  expect(await planOver([device], [device, leaving, honest])).toEqual(['03'])
})

test('looks no further where those that are known train', async () => {
  expect(await planOver([device, honest], [])).toEqual(['03'])
})

test('says that others take no training, not those that leave', async () => {
  await expect(planOver([device], [device, leaving])).rejects.toMatchObject({
    code: 'NO_ROUTE',
    message: expect.stringContaining('one server of the model says so')
  })
})

test('looks for others as long as before when those that trained have gone again', async () => {
  let now = 0
  let all = [device]
  const clock = { ...systemClock, now: () => now }
  const training = trainingOver(
    () => all,
    () => all,
    clock
  )
  await expect(training.plan(SPAN)).rejects.toMatchObject({ retryable: true })
  all = [device, honest]
  expect(await training.plan(SPAN)).toHaveLength(1)
  all = [device]
  now = 60_000
  await expect(training.plan(SPAN)).rejects.toMatchObject({ retryable: true })
  now = 71_000
  await expect(training.plan(SPAN)).rejects.toMatchObject({ retryable: false })
})
