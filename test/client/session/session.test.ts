// The session over real BlockServers and a plain engine: whatever happens on the way, the rows that
// come out equal those of one undisturbed pass.
import { expect, test } from 'bun:test'
import type { AppError } from '../../../src/base/errors.ts'
import { createLog } from '../../../src/base/log.ts'
import { seededRandom } from '../../../src/base/random.ts'
import { chunkRows } from '../../../src/client/session/chunk-rows.ts'
import type { InferenceSession } from '../../../src/client/session/session.ts'
import { randomRows, throughFakeBlocks } from '../../support/fakes/fake-compute.ts'
import { FakeSwarm, startSession, type FakePeer } from '../../support/fakes/fake-swarm.ts'

const BLOCKS = 6
const HIDDEN = 4

function inputRows(count: number, seed = 1): Float32Array {
  return randomRows(count, HIDDEN, seed)
}

/** All blocks over all rows, in one plain loop. */
function reference(input: Float32Array): Float32Array {
  return throughFakeBlocks(input, BLOCKS, HIDDEN)
}

async function threeServers(): Promise<{ swarm: FakeSwarm; peers: FakePeer[] }> {
  const swarm = new FakeSwarm(BLOCKS, HIDDEN)
  const peers = [await swarm.add(0, 2), await swarm.add(2, 4), await swarm.add(4, 6)]
  return { swarm, peers }
}

/** A prompt of `prompt` rows, then one row at a time; `before(i)` runs before row i. */
async function decode(
  session: InferenceSession,
  input: Float32Array,
  prompt: number,
  before: (row: number) => void | Promise<void> = () => {}
): Promise<Float32Array> {
  const rows = input.length / HIDDEN
  const out = new Float32Array(input.length)
  out.set((await session.forward(0, input.slice(0, prompt * HIDDEN))).output)
  for (let row = prompt; row < rows; row++) {
    await before(row)
    const { output } = await session.forward(row, input.slice(row * HIDDEN, (row + 1) * HIDDEN))
    out.set(output, row * HIDDEN)
  }
  return out
}

test('forward() through three servers equals one pass', async () => {
  const { swarm } = await threeServers()
  await using session = await startSession(swarm)
  const input = inputRows(20)
  expect(await decode(session, input, 8)).toEqual(reference(input))
})

test('forward() sends a long prompt in chunks and returns only the rows asked for', async () => {
  const { swarm, peers } = await threeServers()
  await using session = await startSession(swarm)
  const input = inputRows(300)
  const { output: answer } = await session.forward(0, input, { answerRows: 2 })
  expect(answer).toEqual(reference(input).slice(-2 * HIDDEN))
  const size = chunkRows(300, peers.length, 128)
  const counts = peers[0]?.compute.steps.map((step) => step.count)
  expect(counts).toEqual([...Array.from({ length: 8 }, () => size), 300 - 8 * size])
})

test('forward() from an earlier position forgets what came after', async () => {
  const { swarm } = await threeServers()
  await using session = await startSession(swarm)
  const input = inputRows(12)
  await session.forward(0, input)
  const other = inputRows(4, 2)
  const { output: answer } = await session.forward(6, other)
  const whole = Float32Array.from([...input.slice(0, 6 * HIDDEN), ...other])
  expect(answer).toEqual(reference(whole).slice(6 * HIDDEN))
})

test('forward() uses part of a span where spans overlap', async () => {
  const swarm = new FakeSwarm(BLOCKS, HIDDEN)
  await swarm.add(0, 4)
  await swarm.add(2, 6)
  await using session = await startSession(swarm)
  const input = inputRows(9)
  expect(await decode(session, input, 4)).toEqual(reference(input))
})

for (const [name, hurt] of [
  ['is killed', (swarm: FakeSwarm, peer: FakePeer) => swarm.kill(peer)],
  ['freezes', (_: FakeSwarm, peer: FakePeer) => void (peer.frozen = true)],
  [
    'answers garbage',
    (_: FakeSwarm, peer: FakePeer) =>
      void (peer.spoil = (result) => ({
        ...result,
        tensor: { ...result.tensor, data: new Uint8Array(result.tensor.data.length).fill(255) }
      }))
  ],
  [
    'answers a wrong shape',
    (_: FakeSwarm, peer: FakePeer) =>
      void (peer.spoil = (result) => ({
        ...result,
        tensor: { ...result.tensor, rows: result.tensor.rows + 1 }
      }))
  ],
  [
    'fails in its engine',
    (_: FakeSwarm, peer: FakePeer) =>
      void (peer.compute.onstep = () => {
        throw new Error('engine fault')
      })
  ],
  [
    'never finishes computing',
    (_: FakeSwarm, peer: FakePeer) => void (peer.compute.onstep = () => new Promise(() => {}))
  ]
] as const) {
  for (const place of [0, 1, 2]) {
    test(`a session goes on the same when server ${place} ${name}`, async () => {
      const { swarm, peers } = await threeServers()
      await swarm.add(0, 3)
      await swarm.add(3, 6)
      // Short, since one of these faults is known by nothing but silence.
      await using session = await startSession(swarm, { silenceMs: 400 })
      const input = inputRows(16)
      const victim = (): FakePeer => {
        const used = session.route[Math.min(place, session.route.length - 1)]
        return swarm.peers.find((peer) => peer.peer === used?.peer) ?? peers[place]!
      }
      const out = await decode(session, input, 5, (row) => {
        if (row === 9) hurt(swarm, victim())
      })
      expect(out).toEqual(reference(input))
      expect(session.reroutes).toBeGreaterThan(0)
    })
  }
}

test('a session goes on with a server that restarted empty', async () => {
  const { swarm, peers } = await threeServers()
  await using session = await startSession(swarm)
  const input = inputRows(16)
  const out = await decode(session, input, 5, async (row) => {
    const [, middle] = peers
    if (row === 10 && middle) await swarm.restart(middle)
  })
  expect(out).toEqual(reference(input))
})

test('a session replays on a server that forgot it, without avoiding it', async () => {
  const { swarm, peers } = await threeServers()
  await using session = await startSession(swarm)
  const input = inputRows(16)
  const out = await decode(session, input, 5, async (row) => {
    const [, middle] = peers
    const [held] = middle?.server.sessions.all() ?? []
    if (row === 10 && middle && held) {
      await middle.server.closeSession(held.owner, { session: held.id })
    }
  })
  expect(out).toEqual(reference(input))
  expect(session.route.map((hop) => hop.peer)).toEqual(peers.map((peer) => peer.peer))
})

test('the client carries between two servers that cannot reach each other', async () => {
  const { swarm, peers } = await threeServers()
  const [first, second] = peers
  if (first && second) first.unreachable.add(second.peer)
  await using session = await startSession(swarm)
  const input = inputRows(10)
  expect(await decode(session, input, 4)).toEqual(reference(input))
  expect(session.reroutes).toBe(0)
})

test('every server killed in turn at seeded moments changes nothing', async () => {
  for (const seed of [1, 2, 3, 4, 5]) {
    const random = seededRandom(seed)
    const { swarm } = await threeServers()
    await swarm.add(0, 3)
    await swarm.add(3, 6)
    await using session = await startSession(swarm)
    const input = inputRows(60, seed)
    const out = await decode(session, input, 7, async (row) => {
      if (random.next() > 0.2) return
      const alive = swarm.peers
      const victim = alive[random.below(alive.length)]
      if (victim && row > 0) await swarm.restart(victim)
    })
    expect({ seed, out }).toEqual({ seed, out: reference(input) })
  }
})

test('a block that nobody serves is named, soon', async () => {
  const swarm = new FakeSwarm(BLOCKS, HIDDEN)
  await swarm.add(0, 2)
  await using session = await startSession(swarm, { findMs: 20 })
  expect(session.forward(0, inputRows(1))).rejects.toMatchObject({
    code: 'NO_ROUTE',
    message: 'No route through the model: nobody serves blocks 2:6'
  })
})

test('a session says that it waits for blocks, for how long yet, and when it goes on', async () => {
  const { swarm, peers } = await threeServers()
  const heard: string[] = []
  const back = Promise.withResolvers<void>()
  await using session = await startSession(swarm, {
    onwait: (why, leftMs) => {
      heard.push(why ? `${why.message}, ${leftMs > 0}` : 'goes on')
      if (heard.length === 1 && peers[1]) void swarm.restart(peers[1]).then(() => back.resolve())
    }
  })
  const input = inputRows(3)
  const out = await decode(session, input, 2, (row) => {
    if (row > 0 && peers[1]) swarm.kill(peers[1])
  })
  await back.promise
  expect(out).toEqual(reference(input))
  const waits = 'No route through the model: nobody serves blocks 2:4, true'
  expect([heard[0], heard.at(-1)]).toEqual([waits, 'goes on'])
})

test('a cancelled step leaves the session usable', async () => {
  const { swarm, peers } = await threeServers()
  await using session = await startSession(swarm)
  const input = inputRows(8)
  await session.forward(0, input.slice(0, 4 * HIDDEN))
  const controller = new AbortController()
  const [first] = peers
  if (first) first.compute.onstep = () => controller.abort()
  const cancelled = session.forward(4, input.slice(4 * HIDDEN), { signal: controller.signal })
  expect(cancelled).rejects.toMatchObject({ code: 'CANCELLED' })
  await cancelled.catch(() => {})
  if (first) first.compute.onstep = () => {}
  const { output: answer } = await session.forward(4, input.slice(4 * HIDDEN))
  expect(answer).toEqual(reference(input).slice(4 * HIDDEN))
})

test('close() frees the session on every server', async () => {
  const { swarm, peers } = await threeServers()
  const session = await startSession(swarm)
  await session.forward(0, inputRows(3))
  await session.close()
  await new Promise((resolve) => setImmediate(resolve))
  expect(peers.map((peer) => peer.compute.sessions.size)).toEqual([0, 0, 0])
  expect(peers.map((peer) => peer.server.sessions.promisedTokens)).toEqual([0, 0, 0])
})

test('close() ends a step that is under way', async () => {
  const { swarm, peers } = await threeServers()
  const session = await startSession(swarm)
  await session.forward(0, inputRows(3))
  const reached = Promise.withResolvers<void>()
  if (peers[1]) {
    peers[1].compute.onstep = () => {
      reached.resolve()
      return new Promise(() => {})
    }
  }
  const code = session.forward(3, inputRows(1)).catch((error: AppError) => error.code)
  await reached.promise
  await session.close()
  expect(await code).toBe('CLOSED')
})

test('close() ends a step that waits for servers', async () => {
  const swarm = new FakeSwarm(BLOCKS, HIDDEN)
  await swarm.add(0, 2)
  const looked = Promise.withResolvers<void>()
  const session = await startSession(swarm, {
    find: async () => {
      looked.resolve()
      return swarm.find()
    }
  })
  const code = session.forward(0, inputRows(1)).catch((error: AppError) => error.code)
  await looked.promise
  await session.close()
  expect(await code).toBe('CLOSED')
})

for (const [name, hurt] of [
  ['what goes in', (_: FakePeer, input: Float32Array) => void (input[1] = 70_000)],
  [
    'what a server makes',
    (peer: FakePeer) => void (peer.compute.onstep = ({ hidden }) => void (hidden[0] = 200_000))
  ]
] as const) {
  test(`a session goes over to a wider type when f16 cannot hold ${name}`, async () => {
    const answers: Float32Array[] = []
    const widened: string[] = []
    for (const dtype of ['f16', 'bf16'] as const) {
      const { swarm, peers } = await threeServers()
      const input = inputRows(6)
      await using session = await startSession(swarm, {
        dtype,
        widerDtype: 'bf16',
        onwiden: () => void widened.push(dtype)
      })
      if (peers[1]) hurt(peers[1], input)
      answers.push(await decode(session, input, 3))
      expect(session.reroutes).toBe(0)
    }
    expect([widened, answers[0]]).toEqual([['f16'], answers[1] ?? new Float32Array(0)])
  })
}

test('a failover stays with servers of the same arithmetic, and the log says when it cannot', async () => {
  const { swarm, peers } = await threeServers()
  for (const peer of peers) peer.info = { ...peer.info, arithmetic: 'petals-1' }
  // Better by what it says of itself.
  const fast = await swarm.add(2, 4)
  fast.info = { ...fast.info, throughput: 9000 }
  const alike = await swarm.add(2, 4)
  alike.info = { ...alike.info, arithmetic: 'petals-1', throughput: 50 }
  const lines: string[] = []
  const log = createLog('debug', (line) => void lines.push(line))
  await using session = await startSession(swarm, { log, arithmetic: 'petals-1' })
  const input = inputRows(9)
  const crossings = (): string[] => lines.filter((line) => line.includes('another arithmetic'))
  const used: string[] = []
  const out = await decode(session, input, 3, (row) => {
    used.push(session.route[1]?.peer ?? '')
    if (row === 5 && peers[1]) swarm.kill(peers[1])
    if (row === 7) {
      expect(crossings()).toEqual([])
      swarm.kill(alike)
    }
  })
  used.push(session.route[1]?.peer ?? '')
  expect(out).toEqual(reference(input))
  expect([...new Set(used)]).toEqual([peers[1]?.peer ?? '', alike.peer, fast.peer])
  expect(crossings()).toEqual([expect.stringContaining(fast.peer.slice(0, 8))])
})

test('a value that the type that was asked for cannot hold ends the step at once, with advice', async () => {
  const { swarm } = await threeServers()
  await using session = await startSession(swarm, { dtype: 'f16' })
  const wide = inputRows(1).fill(70_000)
  expect(session.forward(0, wide)).rejects.toMatchObject({
    code: 'UNSUPPORTED',
    retryable: false,
    hint: expect.stringContaining('--wire bf16')
  })
})

test('a server that refuses to open again and again is left alone', async () => {
  const { swarm, peers } = await threeServers()
  const spare = await swarm.add(2, 4)
  const [, middle] = peers
  let refusals = 0
  if (middle) {
    middle.server.open = async (link, message) => {
      refusals++
      const status = middle.server.status()
      link.error({
        session: message.session,
        step: -1,
        code: 'NOT_FOUND',
        message: 'not here',
        retryable: true,
        retryAfterMs: 0,
        status
      })
    }
  }
  await using session = await startSession(swarm)
  const input = inputRows(6)
  expect(await decode(session, input, 3)).toEqual(reference(input))
  expect(refusals).toBe(1)
  expect(session.route.map((hop) => hop.peer)).toContain(spare.peer)
})

test('a session promises no more tokens than the model takes', async () => {
  const swarm = new FakeSwarm(BLOCKS, HIDDEN)
  const { server } = await swarm.add(0, BLOCKS)
  await using session = await startSession(swarm, { contextLength: 64, maxTokens: 512 })
  const input = inputRows(8)
  expect(await decode(session, input, 4)).toEqual(reference(input))
  expect(server.sessions.promisedTokens).toBe(64)
})
