// Hostile servers over real connections, byte by byte: whatever frames come at whatever moment, a
// client gets its rows from the honest server beside them, and goes on blaming those who sent the
// frames.
import { expect, test } from 'bun:test'
import { toHex } from '../../src/base/bytes.ts'
import { seededRandom } from '../../src/base/random.ts'
import { swarmConnections } from '../../src/client/connections.ts'
import { PeerBook } from '../../src/client/route/peers.ts'
import { InferenceSession } from '../../src/client/session/session.ts'
import { openModel } from '../../src/model/open-model.ts'
import { Host } from '../../src/server/host.ts'
import { FakeCompute } from '../support/fakes/fake-compute.ts'
import { fakeInfo } from '../support/fakes/fake-swarm.ts'
import { RawServer } from '../support/hostile/raw-server.ts'
import { storiesLocation } from '../support/models/stories.ts'
import { World } from '../swarm/world.ts'

const BLOCKS = 5
const HIDDEN = 64
const HOSTILE = 6
const SESSIONS = 5

class SmallCompute extends FakeCompute {
  override async stats(): ReturnType<FakeCompute['stats']> {
    return { ...(await super.stats()), freeBytes: 256 * 1024 * 1024 }
  }
}

test(`${SESSIONS} sessions get their rows, whatever bytes ${HOSTILE} servers send`, async () => {
  await using world = await World.start()
  await using stack = new AsyncDisposableStack()
  const random = seededRandom(41)
  const model = await openModel(storiesLocation)
  const { contentId } = model
  const host = stack.use(
    new Host({
      compute: new SmallCompute(HIDDEN),
      model,
      blocks: { start: 0, end: BLOCKS },
      quant: 'f32',
      node: world.make()
    })
  )
  await host.ready()
  const [address = { host: '', port: 0 }] = world.address
  const target = {
    key: new Uint8Array(32),
    model: contentId,
    blockCount: BLOCKS,
    hiddenSize: HIDDEN
  }
  const hostile: RawServer[] = []
  while (hostile.length < HOSTILE) hostile.push(stack.use(new RawServer(address, target, random)))
  await Promise.all(hostile.map((server) => server.listen()))
  const infos = [
    Buffer.from(host.peer, 'hex'),
    ...hostile.map(({ identity }) => identity.publicKey)
  ].map((peer, i) => ({
    ...fakeInfo(new Uint8Array(peer), 0, BLOCKS, BLOCKS, HIDDEN),
    model: contentId,
    throughput: i === 0 ? 100 : 1e9
  }))
  const row = (at: number): Float32Array => new Float32Array(HIDDEN).fill(at + 0.5)
  const answers: string[] = []
  const blamed = new Set<string>()
  for (let i = 0; i < SESSIONS; i++) {
    const connections = swarmConnections(await world.node())
    // A new client each time: one that remembers would go to the honest server at once.
    const book = new PeerBook()
    const session = new InferenceSession({
      connections,
      book,
      find: async () => infos,
      model: contentId,
      blockCount: BLOCKS,
      hiddenSize: HIDDEN,
      maxTokens: 64,
      contextLength: 64,
      dtype: 'f32',
      optimizer: false
    })
    await session.ready()
    const out: number[] = []
    for (let at = 0; at < 5; at++) out.push(...(await session.forward(at, row(at))).output)
    answers.push(out.join())
    for (const peer of book.avoided(performance.now())) blamed.add(peer)
    await session.close()
  }
  expect([new Set(answers).size, answers[0]?.split(',').length]).toEqual([1, 5 * HIDDEN])
  expect([blamed.has(host.peer), blamed.size > 1]).toEqual([false, true])
  expect(hostile.reduce((sum, { sent }) => sum + sent, 0)).toBeGreaterThan(50)
  expect(
    [...blamed].every((peer) => hostile.some((one) => toHex(one.identity.publicKey) === peer))
  ).toBe(true)
}, 120_000)
