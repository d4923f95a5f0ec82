// Who is revoked in the middle of a session is served no more from then on, and nothing of it is
// left; whoever else has a session notices nothing.
import { expect, test } from 'bun:test'
import { toAppError } from '../../src/base/errors.ts'
import { swarmConnections } from '../../src/client/connections.ts'
import { PeerBook } from '../../src/client/route/peers.ts'
import { InferenceSession } from '../../src/client/session/session.ts'
import { openModel } from '../../src/model/open-model.ts'
import { Host } from '../../src/server/host.ts'
import { find } from '../../src/swarm/directory.ts'
import {
  createSwarm,
  issueInvite,
  narrowInvite,
  type Invite
} from '../../src/swarm/private/invite.ts'
import { Membership } from '../../src/swarm/private/membership.ts'
import { signRevocations } from '../../src/swarm/private/revocations.ts'
import { FakeCompute } from '../support/fakes/fake-compute.ts'
import { storiesLocation } from '../support/models/stories.ts'
import { until, World } from '../swarm/world.ts'

const BLOCKS = 5
const HIDDEN = 64

class SmallCompute extends FakeCompute {
  override async stats(): ReturnType<FakeCompute['stats']> {
    return { ...(await super.stats()), freeBytes: 256 * 1024 * 1024 }
  }
}

async function openSession(world: World, invite: Invite): Promise<InferenceSession> {
  const node = await world.node({ membership: new Membership(invite) })
  const connections = swarmConnections(node)
  const model = await openModel(storiesLocation)
  const { contentId } = model
  model.close()
  const session = new InferenceSession({
    connections,
    book: new PeerBook(),
    find: () => find(node, contentId, BLOCKS),
    model: contentId,
    blockCount: BLOCKS,
    hiddenSize: HIDDEN,
    maxTokens: 64,
    contextLength: 64,
    dtype: 'f32',
    recoverMs: 500,
    optimizer: false
  })
  await session.ready()
  return session
}

test('a revoked member loses the session that it is in, and nobody else does', async () => {
  await using world = await World.start()
  const root = createSwarm()
  const team = issueInvite(root, { label: 'team' })
  const compute = new SmallCompute(HIDDEN)
  const node = world.make({ membership: new Membership(issueInvite(root)) })
  await using host = new Host({
    compute,
    model: await openModel(storiesLocation),
    blocks: { start: 0, end: BLOCKS },
    quant: 'f32',
    node
  })
  await host.ready()
  await using outcast = await openSession(world, narrowInvite(team, { may: ['chat'] }))
  await using member = await openSession(world, issueInvite(root, { may: ['chat'] }))
  const row = new Float32Array(HIDDEN).fill(0.5)
  for (let at = 0; at < 4; at++) {
    await outcast.forward(at, row)
    await member.forward(at, row)
  }
  expect([host.load.sessions, compute.sessions.size]).toEqual([2, 2])

  node.learnRevocations(signRevocations(root, 1, team.capability.ids).bytes)
  const ended = await outcast.forward(4, row).then(
    () => 'served',
    (error: unknown) => toAppError(error).code
  )
  expect(ended).toBe('DENIED')
  await until(() => host.load.sessions === 1 && compute.sessions.size === 1)
  expect((await member.forward(4, row)).output.length).toBe(HIDDEN)
  expect(host.load.links).toBe(1)
}, 60_000)
