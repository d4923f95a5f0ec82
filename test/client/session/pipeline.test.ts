// Rows through a chain of servers that a test answers for: what is replayed before new rows, who is
// sent what, and what is learnt of the answers.
import { expect, test } from 'bun:test'
import { AppError, disconnected } from '../../../src/base/errors.ts'
import type { Hop } from '../../../src/client/route/hop.ts'
import type { ClientLink } from '../../../src/client/route/links.ts'
import { PeerBook } from '../../../src/client/route/peers.ts'
import { Chain } from '../../../src/client/session/chain.ts'
import type { HopFailure } from '../../../src/client/session/hop-failure.ts'
import { Pipeline } from '../../../src/client/session/pipeline.ts'
import { toWire } from '../../../src/wire/peer-error.ts'
import { decodeTensor, encodeTensor } from '../../../src/wire/tensor.ts'
import type { Step } from '../../../src/wire/types.ts'
import { FakeClock } from '../../support/fakes/fake-clock.ts'

const HIDDEN = 2
const SESSION = new Uint8Array(16)
const { signal } = new AbortController()

/** Three servers of two blocks each; each adds 1 to what it gets, and pushes on. */
function world() {
  const clock = new FakeClock()
  const book = new PeerBook()
  const chain = new Chain({ hiddenSize: HIDDEN, dtype: 'f32' })
  const sent: { to: string; start: number; count: number; hops: number }[] = []
  const hops: Hop[] = []
  const state = { onstep: (_peer: string, _step: Step): boolean => true }
  const pipeline = new Pipeline({
    session: SESSION,
    chain,
    hiddenSize: HIDDEN,
    blockCount: 6,
    clock,
    book,
    silenceMs: 60_000
  })
  /** Answers as the servers of a route would: mirrors, then the last one's answer. */
  const run = (at: number, step: Step): void => {
    const hop = hops[at]!
    if (!state.onstep(hop.link.peer, step)) return
    const rows = decodeTensor(step.tensor).map((value) => value + 1)
    const next = step.route.length > 0 ? hops[at + 1] : undefined
    const count = next ? step.count : Math.min(step.count, step.answerRows ?? step.count)
    const tensor = encodeTensor(rows.slice((step.count - count) * HIDDEN), count, HIDDEN, 'f32')
    const status = { queue: 0, freeTokens: 10, computeMs: 4, queueMs: 1 }
    const trace = [{ peer: hop.link.key, status }]
    const all = encodeTensor(rows, step.count, HIDDEN, 'f32')
    const { step: number, start } = step
    const answer = { session: SESSION, step: number, start, count: step.count, end: hop.end }
    if (!next || step.mirror) {
      pipeline.onresult(hop.link, { ...answer, trace, tensor: next ? all : tensor })
    }
    if (next) run(at + 1, { ...step, route: step.route.slice(1), tensor: all })
  }
  for (const [at, peer] of ['one', 'two', 'three'].entries()) {
    const link: ClientLink = {
      peer,
      key: new Uint8Array(32).fill(at + 1),
      closed: false,
      open: () => {},
      step: (step) => {
        const { start, count, route } = step
        sent.push({ to: peer, start, count, hops: route.length + 1 })
        queueMicrotask(() => run(at, step))
      },
      cancel: () => {},
      keep: () => {},
      closeSession: () => {},
      ping: async () => 1,
      awaited: () => () => {}
    }
    const [start, end] = [at * 2, at * 2 + 2]
    const fresh = { kv: 0, named: 0, promised: 64, relay: false }
    hops.push({ link, start, end, inputs: chain.inputs(start), rounding: 'f32', ...fresh })
  }
  chain.add(hops)
  const write = (start: number, ...values: number[]): void =>
    chain
      .inputs(0)
      .write(start, encodeTensor(Float32Array.from(values), values.length / HIDDEN, HIDDEN, 'f32'))
  return { pipeline, chain, hops, sent, state, write }
}

test('advance() sends rows to the first server, and the others get them pushed', async () => {
  const { pipeline, sent, write, hops } = world()
  write(0, 1, 2, 3, 4)
  const answer = await pipeline.advance(0, 2, 1, signal)
  expect([...decodeTensor(answer)]).toEqual([6, 7])
  expect(sent).toEqual([{ to: 'one', start: 0, count: 2, hops: 3 }])
  expect(hops.map(({ kv }) => kv)).toEqual([2, 2, 2])
})

test('what each server was sent is recorded from the mirrors, so that it can be replayed', async () => {
  const { pipeline, chain, write } = world()
  write(0, 1, 2)
  await pipeline.advance(0, 1, 1, signal)
  const recorded = [0, 2, 4].map((block) => [...decodeTensor(chain.inputs(block).read(0, 1))])
  expect(recorded).toEqual([
    [1, 2],
    [2, 3],
    [3, 4]
  ])
})

test('replay() runs a new server through its own history, and no other server', async () => {
  const { pipeline, sent, write, hops } = world()
  write(0, 1, 2, 3, 4)
  await pipeline.advance(0, 2, 1, signal)
  hops[1]!.kv = 0
  sent.length = 0
  await pipeline.replay(2, signal)
  expect(sent).toEqual([{ to: 'two', start: 0, count: 2, hops: 1 }])
  write(2, 5, 6)
  expect([...decodeTensor(await pipeline.advance(2, 3, 1, signal))]).toEqual([8, 9])
})

test('behind a server that cannot push, the client carries', async () => {
  const { pipeline, chain, sent, write } = world()
  write(0, 1, 2)
  chain.carryAfter('one')
  expect([...decodeTensor(await pipeline.advance(0, 1, 1, signal))]).toEqual([4, 5])
  expect(sent).toEqual([
    { to: 'one', start: 0, count: 1, hops: 1 },
    { to: 'two', start: 0, count: 1, hops: 2 }
  ])
})

test('a long text goes in several steps, whose numbers go on through all runs', async () => {
  const { pipeline, sent, write } = world()
  const rows = 300
  write(0, ...Array.from({ length: rows * HIDDEN }, (_, i) => i % 7))
  await pipeline.advance(0, rows, 1, signal)
  expect(sent.length).toBeGreaterThan(1)
  expect(sent.reduce((sum, { count }) => sum + count, 0)).toBe(rows)
  expect(pipeline.lastStep).toBe(sent.length - 1)
  write(rows, 1, 2)
  await pipeline.advance(rows, rows + 1, 1, signal)
  expect(pipeline.lastStep).toBe(sent.length - 1)
})

test('answers tell how far rows are and who took how long', async () => {
  const { pipeline, write } = world()
  const far: number[] = []
  pipeline.observe((rows) => far.push(rows))
  write(0, 1, 2)
  await pipeline.advance(0, 1, 1, signal)
  expect(far).toEqual([1])
  expect(new Set(pipeline.trace.map(({ peer }) => peer))).toEqual(new Set(['one', 'two', 'three']))
  expect(pipeline.trace[0]).toMatchObject({ blocks: 2, computeMs: 4, queueMs: 1 })
  pipeline.observe(undefined)
  expect(pipeline.trace).toEqual([])
})

test('a server whose link ends, or that refuses, fails the rows under its own name', async () => {
  const { pipeline, state, write, hops } = world()
  write(0, 1, 2)
  state.onstep = (peer) => {
    if (peer !== 'two') return true
    pipeline.ondisconnect(hops[1]!.link, disconnected('killed'))
    return false
  }
  const gone = await pipeline.advance(0, 1, 1, signal).catch((error: HopFailure) => error)
  expect(gone).toMatchObject({ peer: 'two', error: { code: 'DISCONNECTED' } })
  expect(pipeline.running).toBe(false)
  // It was sent these rows before it failed: they go there, and not to the first server again.
  state.onstep = (peer, { step }) => {
    const error = new AppError('NO_MEMORY', 'No room')
    const status = { queue: 0, freeTokens: 0, computeMs: 0, queueMs: 0 }
    pipeline.onerror(hops[1]!.link, toWire(error, { session: SESSION, step, status }))
    return peer !== 'two'
  }
  const refused = await pipeline.advance(0, 1, 1, signal).catch((error: HopFailure) => error)
  expect(refused).toMatchObject({ peer: 'two', error: { code: 'NO_MEMORY' } })
})
