// A watch over a swarm of this process: models, blocks, servers, who comes and goes, and that what
// it shows becomes JSON.
import { expect, test } from 'bun:test'
import { watchSwarm } from '../../../src/library/watch-swarm.ts'
import { startBootstrap } from '../../../src/swarm/dht/bootstrap.ts'
import { Rendezvous } from '../../../src/swarm/dht/rendezvous.ts'
import { createIdentity } from '../../../src/swarm/identity.ts'
import { SwarmNode } from '../../../src/swarm/node.ts'
import { createSwarm, issueInvite } from '../../../src/swarm/private/invite.ts'
import { Membership } from '../../../src/swarm/private/membership.ts'
import type { SwarmSnapshot } from '../../../src/swarm/watch/snapshot.ts'
import { infoOf, MODEL, until, World } from '../world.ts'

const other = { model: new Uint8Array(32).fill(8), modelName: 'stories260k', blockCount: 4 }

test('shows models, blocks, servers and needs, and who joins and leaves', async () => {
  await using world = await World.start()
  const [first, second] = await Promise.all([world.server(0, 20), world.server(10, 30)])
  const small = await world.node()
  await small.serve(infoOf(0, 2, other))
  await using watch = watchSwarm({ node: await world.node(), swarmWords: '--lan' })
  expect(watch.snapshot()).toMatchObject({ looked: false, models: [], events: [] })
  await watch.ready()
  await watch.look()
  const before = JSON.parse(JSON.stringify(watch.snapshot())) as SwarmSnapshot
  expect(before).toMatchObject({ looked: true, reachable: true })
  expect(before.models.map(({ name, servers, gaps }) => [name, servers, gaps])).toEqual([
    ['test', 2, []],
    ['stories260k', 1, [{ start: 2, end: 4 }]]
  ])
  const [model, little] = before.models
  expect(model?.blocks.map(({ servers }) => servers).join('')).toBe(
    '111111111122222222221111111111'
  )
  expect(model?.hosts.map(({ peer, state, start, rttMs }) => [peer, state, start, rttMs])).toEqual([
    [first.peer, 'alive', 0, expect.any(Number)],
    [second.peer, 'alive', 10, expect.any(Number)]
  ] as never)
  expect(model?.needs.map(({ why, start, end }) => [why, start, end])).toEqual([
    ['alone', 0, 10],
    ['alone', 20, 30]
  ])
  expect(little?.needs[0]).toMatchObject({
    why: 'missing',
    command: 'petals join stories260k --blocks 2:4 --lan'
  })
  expect(model?.history).toHaveLength(1)
  expect(before.events.map(({ kind }) => kind)).toEqual(['joined', 'joined', 'joined'])

  second.update(infoOf(12, 30))
  await until(() => watch.snapshot().events[0]?.kind === 'moved')
  expect(watch.snapshot().events[0]).toMatchObject({ peer: second.peer, start: 12, end: 30 })
  await second.leave()
  await until(() => watch.snapshot().events[0]?.kind === 'left')
  const left = watch.snapshot().models.find(({ name }) => name === 'test')
  expect(left?.gaps).toEqual([{ start: 20, end: 30 }])
}, 60_000)

test('shows what its own node serves, until it leaves', async () => {
  await using world = await World.start()
  const own = await world.server(0, 30)
  await using watch = watchSwarm({ node: own })
  await watch.ready()
  await watch.look()
  const { models, events } = watch.snapshot()
  expect(models[0]?.hosts).toMatchObject([{ peer: own.peer, state: 'alive', start: 0, end: 30 }])
  expect(events.map(({ kind }) => kind)).toEqual(['joined'])
  await own.leave()
  await watch.look()
  expect(watch.snapshot().models).toEqual([])
  expect(watch.snapshot().events.map(({ kind }) => kind)).toEqual(['left', 'joined'])
}, 60_000)

test('sees a private swarm as a member, and nothing of it as a stranger', async () => {
  await using world = await World.start()
  const membership = new Membership(issueInvite(createSwarm()))
  await world.server(0, 30, { membership })
  await using member = watchSwarm({ node: await world.node({ membership }) })
  await using stranger = watchSwarm({ node: await world.node() })
  await Promise.all([member.ready(), stranger.ready()])
  await Promise.all([member.look(), stranger.look()])
  expect(member.snapshot().models.map((model) => model.model)).toEqual([
    Buffer.from(MODEL).toString('hex')
  ])
  expect(stranger.snapshot()).toMatchObject({ looked: true, reachable: true, models: [] })
}, 60_000)

test('a server that is killed is silent, and lost when its record has expired', async () => {
  await using world = await World.start()
  let aheadMs = 0
  const clock = {
    now: () => performance.now(),
    wall: () => Date.now() + aheadMs,
    after: (ms: number, call: () => void) => {
      const timer = setTimeout(call, ms)
      return () => clearTimeout(timer)
    }
  }
  const child = Bun.spawn(
    [
      process.execPath,
      `${import.meta.dir}/../server-process.ts`,
      String(world.bootstrap.port),
      '0',
      '30'
    ],
    { stdout: 'pipe', stderr: 'inherit' }
  )
  await child.stdout.getReader().read()
  await using watch = watchSwarm({ node: await world.node({ clock }) })
  await watch.ready()
  await watch.look()
  const state = (): string | undefined => watch.snapshot().models[0]?.hosts[0]?.state
  expect(state()).toBe('alive')
  child.kill('SIGKILL')
  await child.exited
  await watch.look()
  expect(state()).toBe('silent')
  aheadMs = 300_000
  await watch.look()
  expect(watch.snapshot().models).toEqual([])
  expect(watch.snapshot().events[0]?.kind).toBe('lost')
}, 60_000)

test('ends at once while nobody of the swarm answers', async () => {
  const gone = await startBootstrap({ port: 0, nodes: 1 })
  const bootstrap = [{ host: gone.host, port: gone.port }]
  await gone.close()
  const rendezvous = new Rendezvous({ bootstrap, serving: true })
  await using node = new SwarmNode({ rendezvous, identity: createIdentity() })
  const watch = watchSwarm({ node })
  await watch.ready()
  const looking = watch.look()
  expect(watch.snapshot()).toMatchObject({ looked: false, reachable: false, models: [] })
  await watch.close()
  await looking
}, 60_000)
