// One server over a plain engine, told things by hand: what it refuses, what it forgets, what it
// keeps apart.
import { expect, test } from 'bun:test'
import { AppError, computeError } from '../../../src/base/errors.ts'
import { ServerEvents } from '../../../src/server/events.ts'
import { encodeTensor } from '../../../src/wire/tensor.ts'
import { FakeClock } from '../../support/fakes/fake-clock.ts'
import { codes, id, open, Peer, serve, step } from './one-server.ts'

test('open() refuses another model, other blocks, too many tokens and too many sessions', async () => {
  const { server } = await serve()
  await using _server = server
  const peer = new Peer('a')
  await open(server, peer, 1, { model: new Uint8Array(32) })
  await open(server, peer, 1, { start: 1 })
  await open(server, peer, 1, { end: 5 })
  await open(server, peer, 1, { maxTokens: 5000 })
  await open(server, peer, 1, { maxTokens: 101 })
  await open(server, peer, 1)
  await open(server, peer, 2)
  await open(server, peer, 3)
  expect(codes(peer)).toEqual([
    'NOT_FOUND',
    'NOT_FOUND',
    'NOT_FOUND',
    'LIMIT',
    'NO_MEMORY',
    'LIMIT'
  ])
  expect(server.sessions.promisedTokens).toBe(40)
})

test("open() of a known session changes its promise, and not for a stranger's", async () => {
  const { server } = await serve()
  await using _server = server
  const [owner, stranger] = [new Peer('a'), new Peer('b')]
  await open(server, owner, 1)
  await open(server, owner, 1, { maxTokens: 50 })
  await open(server, stranger, 1)
  expect([server.sessions.promisedTokens, codes(owner), codes(stranger)]).toEqual([
    50,
    [],
    ['DENIED']
  ])
})

test('step() refuses what does not fit, and says so of that session only', async () => {
  const { server } = await serve()
  await using _server = server
  const peer = new Peer('a')
  await open(server, peer, 1)
  await open(server, peer, 2)
  const wide = encodeTensor(new Float32Array(8), 1, 8, 'f32')
  server.step(peer, step(9, 0, 0))
  server.step(peer, step(1, 0, 0, 1, { tensor: wide }))
  server.step(peer, step(1, 0, 0, 2, { count: 3 }))
  server.step(peer, step(1, 0, 0, 1, { kind: 'backward' }))
  server.step(peer, step(1, 0, 19, 2))
  server.step(peer, step(1, 0, 5))
  server.step(peer, step(2, 0, 0))
  await peer.until(7)
  expect(codes(peer)).toEqual([
    'NOT_FOUND',
    'BAD_INPUT',
    'BAD_INPUT',
    'UNSUPPORTED',
    'LIMIT',
    'NOT_FOUND'
  ])
  expect(peer.results.map((result) => result.session)).toEqual([id(2)])
})

test('a repeated step number is answered once', async () => {
  const { server, compute } = await serve()
  await using _server = server
  const peer = new Peer('a')
  await open(server, peer, 1)
  server.step(peer, step(1, 5, 0))
  server.step(peer, step(1, 5, 0))
  server.step(peer, step(1, 4, 0))
  server.step(peer, step(1, 6, 1))
  await peer.until(2)
  expect(compute.steps.map(({ start }) => start)).toEqual([0, 1])
})

test('an engine fault in one session leaves the others alone', async () => {
  const { server, compute } = await serve()
  await using _server = server
  const peer = new Peer('a')
  await open(server, peer, 1)
  await open(server, peer, 2)
  compute.onstep = ({ hidden }) => {
    if (hidden[0] === 0) throw computeError('The engine failed')
  }
  server.step(peer, step(1, 0, 0))
  await peer.until(1)
  compute.onstep = () => {}
  server.step(peer, step(2, 0, 0))
  server.step(peer, step(1, 1, 0))
  await peer.until(3)
  expect([codes(peer), peer.results.length]).toEqual([['COMPUTE'], 2])
})

test("values that are not finite are the engine's fault", async () => {
  const { server, compute } = await serve()
  await using _server = server
  const peer = new Peer('a')
  await open(server, peer, 1)
  compute.onstep = ({ hidden }) => void hidden.fill(Number.NaN)
  server.step(peer, step(1, 0, 0))
  await peer.until(1)
  expect(codes(peer)).toEqual(['COMPUTE'])
})

test('a peer that goes away mid-step frees its sessions and stops its step', async () => {
  const { server, compute } = await serve()
  await using _server = server
  const [leaver, stayer] = [new Peer('a'), new Peer('b')]
  await open(server, leaver, 1)
  await open(server, stayer, 2)
  const started = Promise.withResolvers<void>()
  compute.onstep = (_input, signal) => {
    started.resolve()
    return new Promise((resolve) => signal?.addEventListener('abort', () => resolve()))
  }
  server.step(leaver, step(1, 0, 0))
  await started.promise
  compute.onstep = () => {}
  server.step(stayer, step(2, 0, 0))
  await server.disconnected(leaver)
  await stayer.until(1)
  expect([compute.sessions.size, server.sessions.promisedTokens, stayer.results.length]).toEqual([
    1, 20, 1
  ])
})

test('cancel() drops what waits and stops what runs, and the session goes on', async () => {
  const { server, compute } = await serve()
  await using _server = server
  const peer = new Peer('a')
  await open(server, peer, 1)
  compute.onstep = (_input, signal) =>
    new Promise((resolve) => signal?.addEventListener('abort', () => resolve()))
  server.step(peer, step(1, 0, 0))
  server.step(peer, step(1, 1, 1))
  server.cancel(peer, { session: id(1), step: 1 })
  await peer.until(1)
  compute.onstep = () => {}
  server.step(peer, step(1, 2, 0))
  await peer.until(2)
  expect([codes(peer), peer.results.map((result) => result.step)]).toEqual([['CANCELLED'], [2]])
})

test('steps of several sessions are in the engine at once, one of each', async () => {
  const { server, compute } = await serve()
  await using _server = server
  const [a, b] = [new Peer('a'), new Peer('b')]
  await open(server, a, 1)
  await open(server, a, 2)
  await open(server, b, 3)
  const inside: number[] = []
  const release = Promise.withResolvers<void>()
  compute.onstep = ({ session, start }) => {
    inside.push(session * 10 + start)
    return release.promise
  }
  for (const [peer, session] of [
    [a, 1],
    [a, 2],
    [b, 3]
  ] as const) {
    server.step(peer, step(session, 0, 0))
    server.step(peer, step(session, 1, 1))
  }
  const first = [...inside]
  const { queue } = server.status()
  release.resolve()
  await Promise.all([a.until(4), b.until(2)])
  const sessions = [...compute.sessions.keys()]
  expect({ first, queue, second: inside.slice(3).toSorted() }).toEqual({
    first: sessions.map((session) => session * 10),
    queue: 6,
    second: sessions.map((session) => session * 10 + 1)
  })
})

test('memory that one session lacks is refused to it alone', async () => {
  const { server, compute } = await serve()
  await using _server = server
  const peer = new Peer('a')
  await open(server, peer, 1)
  await open(server, peer, 2)
  const [first] = compute.sessions.keys()
  compute.onstep = ({ session }) => {
    if (session === first) throw new AppError('NO_MEMORY', 'There is none')
  }
  server.step(peer, step(1, 0, 0))
  server.step(peer, step(2, 0, 0))
  await peer.until(2)
  expect([codes(peer), peer.results.map(({ session }) => session)]).toEqual([
    ['NO_MEMORY'],
    [id(2)]
  ])
})

test('who is refused for want of tokens is told when some are likely to be free', async () => {
  const clock = new FakeClock()
  const { server } = await serve({ clock, idleMs: 60_000 })
  await using _server = server
  const peer = new Peer('a')
  await open(server, peer, 1, { maxTokens: 90 })
  await clock.advance(8000)
  await open(server, peer, 2, { maxTokens: 20 })
  // It has lived for eight seconds, and nothing is known of how long others do.
  expect(peer.errors.map(({ code, retryAfterMs }) => [code, retryAfterMs])).toEqual([
    ['NO_MEMORY', 8000]
  ])
})

test('a flood of steps is told BUSY with a time to wait', async () => {
  const { server, compute } = await serve()
  await using _server = server
  const peer = new Peer('a')
  await open(server, peer, 1)
  const release = Promise.withResolvers<void>()
  compute.onstep = () => release.promise
  for (let i = 0; i < 8; i++) server.step(peer, step(1, i, 0))
  const busy = peer.errors.map(({ code, retryable, retryAfterMs }) => [
    code,
    retryable,
    retryAfterMs
  ])
  release.resolve()
  await peer.until(8)
  expect(busy).toEqual(Array.from({ length: 3 }, () => ['BUSY', true, 500]))
})

test('a push that cannot be made is told to the client, with the mirror it needs to carry on', async () => {
  const { server } = await serve()
  await using _server = server
  const peer = new Peer('a')
  await open(server, peer, 1)
  const route = [{ peer: new Uint8Array(32).fill(9), start: 4, end: 6 }]
  server.step(peer, step(1, 0, 0, 1, { route, mirror: true }))
  await peer.until(2)
  expect([codes(peer), peer.results.map((result) => result.end)]).toEqual([['UNAVAILABLE'], [4]])
})

test('a draining server refuses sessions and is done when the last one ends', async () => {
  const { server } = await serve()
  await using _server = server
  const peer = new Peer('a')
  await open(server, peer, 1)
  const drained = server.drain(new AbortController().signal)
  await open(server, peer, 2)
  expect(codes(peer)).toEqual(['BUSY'])
  await server.closeSession(peer, { session: id(1) })
  await drained
  expect(server.sessions.size).toBe(0)
})

test('a thousand peers that open and vanish leave nothing behind', async () => {
  const { server, compute } = await serve()
  await using _server = server
  for (let i = 0; i < 1000; i++) {
    const peer = new Peer(`peer ${i}`)
    await open(server, peer, i % 256)
    server.step(peer, step(i % 256, 0, 0))
    await server.disconnected(peer)
  }
  await new Promise((resolve) => setImmediate(resolve))
  expect([compute.sessions.size, server.sessions.size, server.sessions.promisedTokens]).toEqual([
    0, 0, 0
  ])
})

test('a session that nobody uses is dropped, whenever it was opened', async () => {
  const clock = new FakeClock()
  const { server, compute } = await serve({ clock, idleMs: 60_000 })
  await using _server = server
  const peer = new Peer('a')
  await clock.advance(200_000)
  await open(server, peer, 1)
  await clock.advance(59_000)
  expect(server.sessions.size).toBe(1)
  await clock.advance(62_000)
  expect([server.sessions.size, compute.sessions.size]).toEqual([0, 0])
})

test('open() of a known session with fewer tokens frees none of those it may hold', async () => {
  const { server } = await serve()
  await using _server = server
  const peer = new Peer('a')
  await open(server, peer, 1, { maxTokens: 50 })
  await open(server, peer, 1, { maxTokens: 1 })
  expect([server.sessions.promisedTokens, codes(peer)]).toEqual([50, []])
})

test('open() of a known session with no more tokens is never refused', async () => {
  const { server } = await serve({ capacityTokens: 6000 })
  await using _server = server
  const [owner, other] = [new Peer('a'), new Peer('b')]
  await open(server, owner, 1, { maxTokens: 2500 })
  await open(server, owner, 2, { maxTokens: 1500 })
  await open(server, other, 3, { maxTokens: 1900 })
  for (const maxTokens of [2500, 10, 2501]) await open(server, owner, 1, { maxTokens })
  expect({
    opened: owner.openings.length,
    codes: codes(owner),
    promised: server.sessions.promisedTokens
  }).toEqual({ opened: 4, codes: ['NO_MEMORY'], promised: 5900 })
})

test('a step may come before the engine has opened its session', async () => {
  const { server } = await serve()
  await using _server = server
  const peer = new Peer('a')
  const opening = open(server, peer, 1)
  server.step(peer, step(1, 0, 0))
  await Promise.all([opening, peer.until(1)])
  expect([peer.results.length, codes(peer)]).toEqual([1, []])
})

test('bytes of a step are held until it has run or is not wanted any more', async () => {
  const { server, compute } = await serve()
  await using _server = server
  const run = Promise.withResolvers<void>()
  compute.onstep = () => run.promise
  const peer = new Peer('a')
  await open(server, peer, 1)
  await open(server, peer, 2)
  const ended: number[] = []
  const follow = (number: number, held: void | Promise<void>): void => {
    void held?.then(() => ended.push(number))
  }
  follow(0, server.step(peer, step(1, 0, 0)))
  follow(1, server.step(peer, step(2, 1, 0)))
  follow(2, server.step(peer, step(2, 2, 1)))
  await server.closeSession(peer, { session: id(2) })
  await new Promise((resolve) => setImmediate(resolve))
  expect(ended).toEqual([2])
  run.resolve()
  await peer.until(2)
  await new Promise((resolve) => setImmediate(resolve))
  expect(ended.toSorted()).toEqual([0, 1, 2])
})

test('each session ends for a reason, and its tokens are counted', async () => {
  const clock = new FakeClock()
  const lived: number[] = []
  const listener = { onended: (_ms: number, tokens: number) => void lived.push(tokens) }
  const events = new ServerEvents({ clock, listener })
  const { server } = await serve({ clock, events, idleMs: 10_000 })
  const [stays, leaves] = [new Peer('a'.repeat(64)), new Peer('b'.repeat(64))]
  await open(server, stays, 1)
  await open(server, stays, 2)
  await open(server, stays, 3)
  await open(server, leaves, 4)
  void server.step(stays, step(1, 0, 0, 3))
  await stays.until(2)
  await server.closeSession(stays, { session: id(1) })
  await server.disconnected(leaves)
  await clock.advance(20_000)
  expect(events.counts).toMatchObject({
    sessions: 3,
    peers: 2,
    steps: 1,
    promptTokens: 3,
    ended: { done: 1, 'client gone': 1, idle: 1 },
    refused: { LIMIT: 1 }
  })
  expect(lived.sort()).toEqual([0, 0, 3])
  await server.close()
})
