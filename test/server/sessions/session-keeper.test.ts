// Sessions that open, idle, make room and end, over an engine without weights.
import { expect, test } from 'bun:test'
import { AppError } from '../../../src/base/errors.ts'
import { silentLog } from '../../../src/base/log.ts'
import { ServerEvents } from '../../../src/server/events.ts'
import { PrefixKeeper } from '../../../src/server/sessions/prefix-keeper.ts'
import { SessionKeeper } from '../../../src/server/sessions/session-keeper.ts'
import { StepsUnderWay } from '../../../src/server/sessions/steps-under-way.ts'
import type { OpenSession } from '../../../src/wire/types.ts'
import { FakeClock, settle } from '../../support/fakes/fake-clock.ts'
import { FakeCompute } from '../../support/fakes/fake-compute.ts'
import { id, Peer } from './one-server.ts'

const MODEL = new Uint8Array(32).fill(7)
const IDLE_MS = 600_000

interface Scene {
  readonly keeper: SessionKeeper
  readonly compute: FakeCompute
  readonly steps: StepsUnderWay
  readonly clock: FakeClock
  readonly events: ServerEvents
  readonly dropped: string[]
}

function scene(capacityTokens = 100, sessions = 8): Scene {
  const clock = new FakeClock()
  const compute = new FakeCompute(4)
  const span = compute.span(2, 4)
  const events = new ServerEvents({ clock })
  const steps = new StepsUnderWay({ now: () => clock.now() })
  const dropped: string[] = []
  const prefixes = new PrefixKeeper({
    compute,
    span,
    capacityTokens,
    clock,
    log: silentLog,
    limits: { tokens: 0 },
    promised: () => keeper.table.promisedTokens
  })
  const keeper: SessionKeeper = new SessionKeeper({
    compute,
    span,
    model: MODEL,
    capacityTokens,
    prefixes,
    adapters: async () => undefined,
    events,
    clock,
    steps,
    limits: { sessionsPerPeer: sessions, sessions },
    idleMs: IDLE_MS,
    log: silentLog,
    ondrop: ({ key }) => dropped.push(key.slice(0, 2))
  })
  return { keeper, compute, steps, clock, events, dropped }
}

function message(session: number, maxTokens: number, more: Partial<OpenSession> = {}): OpenSession {
  return { session: id(session), model: MODEL, start: 2, end: 4, maxTokens, ...more }
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'done',
    (error: AppError) => error.code
  )
}

test('reopening for as many tokens or fewer takes nothing; for one more than there are is refused', async () => {
  const { keeper } = scene(5000)
  const [most, other] = [new Peer('a'), new Peer('b')]
  await keeper.open(most, message(1, 3500))
  // 600 are left, fewer than the eighth that is kept from who holds more than half.
  await keeper.open(other, message(2, 900))
  await keeper.open(most, message(1, 3500))
  await keeper.open(most, message(1, 10))
  expect(keeper.table.promisedTokens).toBe(4400)
  expect(await codeOf(keeper.open(most, message(1, 3501)))).toBe('NO_MEMORY')
  await keeper.open(other, message(2, 901))
  expect(keeper.table.promisedTokens).toBe(4401)
})

test('a session is reopened by its owner alone, and over the same blocks', async () => {
  const { keeper } = scene()
  const owner = new Peer('a')
  await keeper.open(owner, message(1, 20))
  expect([
    await codeOf(keeper.open(new Peer('b'), message(1, 30))),
    await codeOf(keeper.open(owner, message(1, 30, { end: 3 }))),
    keeper.table.promisedTokens
  ]).toEqual(['DENIED', 'BAD_INPUT', 20])
})

test('an idle session of another peer makes room for one that would be refused; a busy one does not', async () => {
  const { keeper, steps, clock, dropped } = scene(100, 2)
  const [idle, busy, late] = [new Peer('a'), new Peer('b'), new Peer('c')]
  await keeper.open(idle, message(1, 20))
  await keeper.open(busy, message(2, 20))
  steps.add(keeper.table.get(id(2))!, 0)
  expect(await codeOf(keeper.open(late, message(3, 20)))).not.toBe('done')
  await clock.advance(60_001)
  expect(keeper.freeTokens).toBe(60)
  await keeper.open(late, message(3, 20))
  expect([dropped, keeper.table.all().map(({ key }) => key.slice(0, 2))]).toEqual([
    ['01'],
    ['02', '03']
  ])
  expect(keeper.freeTokens).toBe(0)
})

test('sweep() closes what was not used for long, and again and again, but nothing with a step', async () => {
  const { keeper, steps, clock, events, compute } = scene()
  await keeper.open(new Peer('a'), message(1, 20))
  await keeper.open(new Peer('b'), message(2, 20))
  const step = steps.add(keeper.table.get(id(2))!, 0)
  keeper.sweep()
  await clock.advance(IDLE_MS + 60_000)
  expect(keeper.table.all().map(({ key }) => key.slice(0, 2))).toEqual(['02'])
  steps.remove(step)
  await clock.advance(60_000)
  expect([keeper.table.size, compute.sessions.size]).toEqual([0, 0])
  expect(events.counts.ended).toEqual({ idle: 2 })
  await keeper.close()
})

test('a session that the engine cannot open leaves nothing behind', async () => {
  const { keeper, compute, events } = scene()
  compute.openSession = () => Promise.reject(new AppError('COMPUTE', 'broken'))
  expect(await codeOf(keeper.open(new Peer('a'), message(1, 20)))).toBe('COMPUTE')
  expect([keeper.table.size, keeper.table.promisedTokens, events.counts.ended]).toEqual([
    0,
    0,
    { failed: 1 }
  ])
})

test('a session that is dropped while the engine opens it is closed there', async () => {
  const { keeper, compute } = scene()
  const engine = Promise.withResolvers<void>()
  const openSession = compute.openSession.bind(compute)
  compute.openSession = async (span, range) => {
    await engine.promise
    return openSession(span, range)
  }
  const opening = keeper.open(new Peer('a'), message(1, 20))
  await settle()
  await keeper.drop(keeper.table.get(id(1))!, 'client gone')
  engine.resolve()
  await opening
  expect([keeper.table.size, compute.sessions.size]).toEqual([0, 0])
})

test('drained() waits for the last session, and no longer than its signal', async () => {
  const { keeper } = scene()
  const owner = new Peer('a')
  await keeper.open(owner, message(1, 20))
  keeper.draining = true
  expect(await codeOf(keeper.open(owner, message(2, 20)))).not.toBe('done')
  let isDrained = false
  const drained = keeper.drained(new AbortController().signal).then(() => (isDrained = true))
  await settle()
  expect(isDrained).toBe(false)
  await keeper.drained(AbortSignal.abort())
  await keeper.drop(keeper.table.get(id(1))!, 'done')
  await drained
  expect(isDrained).toBe(true)
})
