// A session that changes its route by choice, over real BlockServers and a plain engine: to a
// faster server, or away from one that is about to leave. The rows stay those of one undisturbed
// pass.
import { expect, test } from 'bun:test'
import { seededRandom } from '../../../src/base/random.ts'
import type { InferenceSession } from '../../../src/client/session/session.ts'
import { randomRows, throughFakeBlocks } from '../../support/fakes/fake-compute.ts'
import { FakeClock, settle } from '../../support/fakes/fake-clock.ts'
import { FakeSwarm, startSession, type FakePeer } from '../../support/fakes/fake-swarm.ts'

const BLOCKS = 6
const HIDDEN = 4
const FAST = { throughput: 4000 }

function inputRows(count: number): Float32Array {
  return randomRows(count, HIDDEN, 5)
}

function reference(input: Float32Array): Float32Array {
  return throughFakeBlocks(input, BLOCKS, HIDDEN)
}

interface Scene {
  readonly swarm: FakeSwarm
  readonly session: InferenceSession
  readonly clock: FakeClock
  /** A row a second; `before(i)` runs before row i. All rows that came out. */
  decode(rows: number, before?: (row: number) => unknown): Promise<Float32Array>
}

/** Spans of as many servers, each as slow as a step of 100 ms. */
async function scene(spans: readonly (readonly [number, number])[]): Promise<Scene> {
  const swarm = new FakeSwarm(BLOCKS, HIDDEN)
  for (const [first, last] of spans) {
    const peer = await swarm.add(first, last)
    peer.compute.computeMs = () => 100
    peer.info = { ...peer.info, throughput: 10 * (last - first) }
  }
  const clock = new FakeClock()
  const find: FakeSwarm['find'] = () => swarm.find()
  const session = await startSession(swarm, { clock, find, random: seededRandom(3) })
  const decode: Scene['decode'] = async (rows, before = () => {}) => {
    const input = inputRows(rows)
    const out = new Float32Array(input.length)
    for (let row = 0; row < rows; row++) {
      await before(row)
      const { output } = await session.forward(row, input.slice(row * HIDDEN, (row + 1) * HIDDEN))
      out.set(output, row * HIDDEN)
      await clock.advance(1000)
    }
    return out
  }
  return { swarm, session, clock, decode }
}

/** A server that says it is fast. */
async function addFast(swarm: FakeSwarm, start: number, end: number): Promise<FakePeer> {
  const peer = await swarm.add(start, end)
  peer.info = { ...peer.info, ...FAST }
  return peer
}

const THIRDS = [
  [0, 2],
  [2, 4],
  [4, 6]
] as const

test('a session goes over to a server that is clearly faster, and its rows stay the same', async () => {
  const { swarm, session, decode } = await scene(THIRDS)
  await using _ = session
  let fast: FakePeer | undefined
  const out = await decode(40, async (row) => {
    if (row === 8) fast = await addFast(swarm, 2, 4)
  })
  expect(out).toEqual(reference(inputRows(40)))
  expect(session.route.map((hop) => hop.peer)).toEqual([
    swarm.peers[0]?.peer ?? '',
    fast?.peer ?? '',
    swarm.peers[2]?.peer ?? ''
  ])
  expect({ moves: session.moves, reroutes: session.reroutes }).toEqual({ moves: 1, reroutes: 0 })
  await settle()
  expect(swarm.peers[1]?.server.sessions.size).toBe(0)
})

test('a session goes over to a route that is cut elsewhere, and its rows stay the same', async () => {
  const { swarm, session, decode } = await scene(THIRDS)
  await using _ = session
  const out = await decode(40, async (row) => {
    if (row !== 8) return
    await addFast(swarm, 0, 3)
    await addFast(swarm, 3, 6)
  })
  expect(out).toEqual(reference(inputRows(40)))
  expect(session.route.map(({ start, end }) => [start, end])).toEqual([
    [0, 3],
    [3, 6]
  ])
  expect(session.reroutes).toBe(0)
})

test('a session keeps a server that is reached more slowly than it computes', async () => {
  const { swarm, session, decode } = await scene(THIRDS)
  await using _ = session
  await decode(40, async (row) => {
    if (row === 8) (await addFast(swarm, 2, 4)).pingMs = 500
  })
  expect({ moves: session.moves, spans: session.route.length }).toEqual({ moves: 0, spans: 3 })
})

test('a session leaves a server that drains before it goes, without an error', async () => {
  const { swarm, session, decode } = await scene(THIRDS)
  await using _ = session
  const spare = await swarm.add(2, 4)
  // Slower than the one in use: no reason to go there but that one leaves.
  spare.info = { ...spare.info, throughput: 5 }
  const [, middle] = swarm.peers
  let heldWhenItLeft: number | undefined
  const out = await decode(30, async (row) => {
    if (row === 8 && middle) {
      middle.info = {
        ...middle.info,
        draining: true,
        next: { start: 0, end: 2, inMs: 9, left: false }
      }
      middle.server.draining = true
    }
    if (row === 11 && middle) {
      heldWhenItLeft = middle.server.sessions.size
      swarm.kill(middle)
    }
  })
  expect(out).toEqual(reference(inputRows(30)))
  expect({ heldWhenItLeft, reroutes: session.reroutes, moves: session.moves }).toEqual({
    heldWhenItLeft: 0,
    reroutes: 0,
    moves: 1
  })
})

test('a session stays with a server that drains when nobody else has its blocks', async () => {
  const { swarm, session, decode } = await scene(THIRDS)
  await using _ = session
  const out = await decode(20, async (row) => {
    const [, middle] = swarm.peers
    if (row === 8 && middle) middle.info = { ...middle.info, draining: true }
  })
  expect(out).toEqual(reference(inputRows(20)))
  expect(session.reroutes + session.moves).toBe(0)
})

test('a session goes on as it was when the faster server refuses it', async () => {
  const { swarm, session, decode } = await scene(THIRDS)
  await using _ = session
  const before = swarm.peers.map((peer) => peer.peer)
  const out = await decode(40, async (row) => {
    if (row === 8) (await addFast(swarm, 2, 4)).server.draining = true
  })
  expect(out).toEqual(reference(inputRows(40)))
  expect({ route: session.route.map((hop) => hop.peer), moves: session.moves }).toEqual({
    route: before,
    moves: 0
  })
})

test('a session goes on when the faster server dies while it takes over', async () => {
  const { swarm, session, decode } = await scene(THIRDS)
  await using _ = session
  const out = await decode(40, async (row) => {
    if (row !== 8) return
    const fast = await addFast(swarm, 2, 4)
    fast.compute.onstep = () => swarm.kill(fast)
  })
  expect(out).toEqual(reference(inputRows(40)))
  expect({ moves: session.moves, reroutes: session.reroutes }).toEqual({ moves: 1, reroutes: 1 })
})

test('a session does not change over for speed to a server that rounds otherwise', async () => {
  const { swarm, session, decode } = await scene(THIRDS)
  await using _ = session
  await decode(40, async (row) => {
    if (row !== 8) return
    const fast = await addFast(swarm, 2, 4)
    fast.info = { ...fast.info, quant: 'int4' }
  })
  expect(session.moves).toBe(0)
})

test('a session does not change over for speed to a server of another arithmetic', async () => {
  const { swarm, session, decode } = await scene(THIRDS)
  await using _ = session
  for (const peer of swarm.peers) peer.info = { ...peer.info, arithmetic: 'petals-1' }
  await decode(40, async (row) => {
    if (row === 8) await addFast(swarm, 2, 4)
  })
  expect(session.moves).toBe(0)
})

test('a session does not flap between two servers whose times swing by a half', async () => {
  const { swarm, session, decode } = await scene(THIRDS)
  await using _ = session
  const twin = await swarm.add(2, 4)
  twin.info = { ...twin.info, throughput: 20 }
  const random = seededRandom(11)
  for (const peer of [swarm.peers[1], twin]) {
    if (peer) peer.compute.computeMs = () => 80 * (1 + random.next() / 2)
  }
  await decode(300)
  expect(session.moves).toBeLessThan(3)
})

test('a session that rests looks for nothing', async () => {
  const { swarm, session, clock, decode } = await scene(THIRDS)
  await using _ = session
  await decode(10)
  // The look that was due may still come.
  await clock.advance(10_000)
  let looks = 0
  const { find } = swarm
  swarm.find = async () => {
    looks++
    return find()
  }
  await clock.advance(600_000)
  expect(looks).toBe(0)
  await session.forward(10, inputRows(1))
  await clock.advance(10_000)
  expect(looks).toBe(1)
})

test('a session uses a server that has moved where it is now', async () => {
  const { swarm, session, decode } = await scene(THIRDS)
  await using _ = session
  const out = await decode(20, async (row) => {
    const [, middle, last] = swarm.peers
    if (row !== 8 || !middle || !last) return
    await swarm.add(2, 4)
    swarm.kill(last)
    await swarm.move(middle, 4, 6)
  })
  expect(out).toEqual(reference(inputRows(20)))
  expect(session.route.map(({ peer }) => peer)).toEqual(
    [0, 3, 1].map((at) => swarm.peers[at]?.peer ?? '')
  )
})
