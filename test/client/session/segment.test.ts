// One run of rows through some servers, told things by hand on a clock that the test moves.
import { expect, test } from 'bun:test'
import type { Clock } from '../../../src/base/clock.ts'
import { disconnected } from '../../../src/base/errors.ts'
import type { Hop } from '../../../src/client/route/hop.ts'
import type { ClientLink } from '../../../src/client/route/links.ts'
import { History } from '../../../src/client/session/history.ts'
import { HopFailure } from '../../../src/client/session/hop-failure.ts'
import { Segment, type SegmentOptions } from '../../../src/client/session/segment.ts'
import { StepTimeout } from '../../../src/client/session/step-timeout.ts'
import { encodeTensor } from '../../../src/wire/tensor.ts'
import type { Step, StepResult } from '../../../src/wire/types.ts'
import { FakeClock, settle } from '../../support/fakes/fake-clock.ts'

interface FakeLink extends ClientLink {
  closed: boolean
  awaits: number
  readonly steps: Step[]
  readonly cancels: number[]
}

function linkOf(peer: string): FakeLink {
  const link: FakeLink = {
    peer,
    key: new Uint8Array(32),
    closed: false,
    awaits: 0,
    steps: [],
    cancels: [],
    open: () => {},
    step: (step) => void link.steps.push(step),
    cancel: ({ step }) => void link.cancels.push(step),
    keep: () => {},
    closeSession: () => {},
    ping: async () => 1,
    awaited: () => {
      link.awaits++
      return () => void link.awaits--
    }
  }
  return link
}

function hopOf(link: ClientLink, start: number, end: number): Hop {
  const inputs = new History(2, 'f32')
  const fresh = { kv: 0, named: 0, promised: 8, relay: false }
  return { link, start, end, inputs, rounding: 'f32', ...fresh }
}

/** A segment of two servers and three rows, one row a step. */
function world(more: Partial<SegmentOptions> = {}) {
  const clock = new FakeClock()
  const links = [linkOf('one'), linkOf('two')] as const
  const hops = [hopOf(links[0], 0, 2), hopOf(links[1], 2, 4)] as const
  hops[0].inputs.write(0, encodeTensor(new Float32Array(6), 3, 2, 'f32'))
  const ending = new AbortController()
  let step = 0
  const segment = new Segment({
    session: new Uint8Array(16),
    hops,
    next: undefined,
    from: 0,
    to: 3,
    answerRows: 1,
    chunkRows: 1,
    window: 2,
    nextStep: () => step++,
    timeout: new StepTimeout(60_000),
    clock,
    signal: ending.signal,
    ...more
  })
  const answer = (at: 0 | 1, number: number): void => {
    const tensor = encodeTensor(new Float32Array(2), 1, 2, 'f32')
    const base = { session: new Uint8Array(16), step: number, start: number, count: 1 }
    const result: StepResult = { ...base, end: hops[at].end, trace: [], tensor }
    segment.result(links[at], result)
  }
  return { clock, links, hops, ending, segment, answer }
}

/** What became of it, once it has. */
function outcomeOf(segment: Segment): () => unknown {
  let outcome: unknown
  segment.run().then(
    () => (outcome = 'answered'),
    (error: unknown) => (outcome = error)
  )
  return () => outcome
}

test('run() sends a window of steps, and the next as answers come', async () => {
  const { links, segment, answer, hops } = world()
  const outcome = outcomeOf(segment)
  expect(links[0].steps.map(({ start }) => start)).toEqual([0, 1])
  for (const step of [0, 1, 2]) for (const at of [0, 1] as const) answer(at, step)
  await settle()
  expect([outcome(), links[0].steps.length, hops.map(({ kv }) => kv)]).toEqual([
    'answered',
    3,
    [3, 3]
  ])
})

test('a step may wait for those before it: a slow server is no dead one', async () => {
  const { links, segment, answer } = world({ window: 3 })
  outcomeOf(segment)
  expect(links[0].steps.map(({ deadlineMs }) => deadlineMs)).toEqual([120_000, 180_000, 240_000])
  for (const step of [0, 1, 2]) for (const at of [0, 1] as const) answer(at, step)
  await settle()
})

test('every server is watched while it runs, and not after', async () => {
  const { links, segment, answer, clock } = world()
  const outcome = outcomeOf(segment)
  expect(links.map(({ awaits }) => awaits)).toEqual([1, 1])
  for (const step of [0, 1, 2]) for (const at of [0, 1] as const) answer(at, step)
  await settle()
  expect([outcome(), links.map(({ awaits }) => awaits), clock.pending]).toEqual([
    'answered',
    [0, 0],
    0
  ])
})

test('run() fails at once when a server went away before it', async () => {
  const { links, segment } = world()
  links[1].closed = true
  const outcome = outcomeOf(segment)
  await settle()
  expect(outcome()).toMatchObject({ peer: 'two', error: { code: 'DISCONNECTED' } })
  expect(links[0].steps).toEqual([])
})

test('a link that ends fails the run with the reason', async () => {
  const { links, segment } = world()
  const outcome = outcomeOf(segment)
  segment.disconnected(linkOf('stranger'), disconnected('not ours'))
  segment.disconnected(links[1], disconnected('The server went away'))
  await settle()
  expect(outcome()).toBeInstanceOf(HopFailure)
  expect([outcome(), links.map(({ cancels }) => cancels)]).toMatchObject([
    { peer: 'two' },
    [[1], [1]]
  ])
})

test('an aborted run ends, and its steps are cancelled', async () => {
  const { links, segment, ending } = world()
  const outcome = outcomeOf(segment)
  ending.abort()
  await settle()
  expect(outcome()).toMatchObject({ code: 'CANCELLED' })
  expect(links.map(({ cancels, awaits }) => [cancels, awaits])).toEqual([
    [[1], 0],
    [[1], 0]
  ])
})

test('a server that lives and never answers is given up, by what answers took so far', async () => {
  const { clock, segment, answer } = world()
  const outcome = outcomeOf(segment)
  await clock.advance(1000)
  answer(0, 0)
  answer(1, 0)
  await clock.advance(17_000)
  expect(outcome()).toBeUndefined()
  await clock.advance(1001)
  expect(outcome()).toMatchObject({ peer: 'one', error: { code: 'TIMEOUT' }, hung: true })
})

test('the server before is told of when the first has answered and the second has not', async () => {
  const { clock, segment, answer } = world()
  const outcome = outcomeOf(segment)
  answer(0, 0)
  await clock.advance(60_000)
  expect(outcome()).toMatchObject({ peer: 'two', teller: 'one', error: { code: 'TIMEOUT' } })
})

test('a stall of this process is no fault of a server', async () => {
  const fake = new FakeClock()
  let stalledMs = 0
  const clock: Clock = {
    now: () => fake.now() + stalledMs,
    wall: () => fake.wall(),
    after: (ms, callback) => fake.after(ms, callback)
  }
  const { segment } = world({ clock, timeout: new StepTimeout(5000) })
  const outcome = outcomeOf(segment)
  await fake.advance(4000)
  // The answer is here, but a timer that was due long ago runs first.
  stalledMs = 30_000
  await fake.advance(1000)
  expect(outcome()).toBeUndefined()
  await fake.advance(5000)
  expect(outcome()).toBeInstanceOf(HopFailure)
})
