// One step through the scheduler: what it computes, whom it answers, and when it is not run.
import { expect, test } from 'bun:test'
import { AppError } from '../../../src/base/errors.ts'
import { silentLog } from '../../../src/base/log.ts'
import type { StepInput } from '../../../src/blocks/types.ts'
import { ServerEvents } from '../../../src/server/events.ts'
import type { Pusher } from '../../../src/server/sessions/push.ts'
import { StepRunner } from '../../../src/server/sessions/run-step.ts'
import { SessionMarks } from '../../../src/server/sessions/session-marks.ts'
import type { ServedSession } from '../../../src/server/sessions/sessions.ts'
import { StepsUnderWay } from '../../../src/server/sessions/steps-under-way.ts'
import { decodeTensor } from '../../../src/wire/tensor.ts'
import type { Hop, ServerStatus, Step } from '../../../src/wire/types.ts'
import { FakeClock } from '../../support/fakes/fake-clock.ts'
import { codes, id, Peer, step } from './one-server.ts'

const NEXT: Hop = { peer: new Uint8Array(32).fill(5), start: 4, end: 6 }
const LAST: Hop = { peer: new Uint8Array(32).fill(6), start: 6, end: 8 }

interface Scene {
  readonly runner: StepRunner
  readonly steps: StepsUnderWay
  readonly served: ServedSession
  readonly owner: Peer
  readonly clock: FakeClock
  readonly ran: { start: number; rows: number[] }[]
  readonly pushed: { hop: Hop; step: Step; onfailure: (error: AppError) => void }[]
}

/** `compute` gets each step before its rows are made; the engine adds 1 to every value. */
function scene(compute: (input: StepInput) => Promise<void> | void = () => {}, spare = 0): Scene {
  const clock = new FakeClock()
  const steps = new StepsUnderWay({ now: () => clock.now() })
  const owner = new Peer('a')
  const served: ServedSession = {
    id: id(1),
    key: '01'.repeat(16),
    owner,
    start: 2,
    end: 4,
    compute: 9,
    opening: undefined,
    adapters: undefined,
    adaptersKey: '',
    maxTokens: 100,
    length: 0,
    tokens: 0,
    marks: new SessionMarks(),
    forget: false,
    lastStep: -1,
    openedAt: 0,
    usedAt: 0,
    closed: false
  }
  const ran: Scene['ran'] = []
  const pushed: Scene['pushed'] = []
  let left = spare
  const runner = new StepRunner({
    compute: {
      step: async (input) => {
        await compute(input)
        const hidden = typeof input.hidden === 'function' ? input.hidden() : input.hidden
        ran.push({ start: input.start, rows: [...hidden] })
        return { hidden: hidden.map((value) => value + 1), computeMs: 3, queueMs: 2 }
      }
    },
    self: new Uint8Array(32).fill(1),
    steps,
    pusher: {
      push: (hop: Hop, one: Step, onfailure: (error: AppError) => void) =>
        void pushed.push({ hop, step: one, onfailure })
    } as Pusher,
    freeOne: async () => left-- > 0,
    events: new ServerEvents({ clock }),
    clock,
    log: silentLog,
    status: (computeMs, queueMs) => ({ computeMs, queueMs }) as ServerStatus,
    refuse: (link, { session, step: number }, error) =>
      link.error({ session, step: number, code: error.code, message: error.message } as never)
  })
  return { runner, steps, served, owner, clock, ran, pushed }
}

test('a step is answered with the last rows asked for, and the session grows by all of them', async () => {
  const it = scene()
  await it.runner.run(it.served, step(1, 7, 0, 3, { answerRows: 1 }))
  const [answer] = it.owner.results
  expect(answer).toMatchObject({ step: 7, start: 0, count: 3, end: 4 })
  expect(answer?.trace.map(({ status }) => [status.computeMs, status.queueMs])).toEqual([[3, 2]])
  // Row 2 of the step is (8, 9, 10, 11), of which the engine makes one more each.
  expect([...decodeTensor(answer!.tensor)]).toEqual([9, 10, 11, 12])
  expect([it.served.length, it.served.tokens, it.steps.size]).toEqual([3, 3, 0])
})

test('a step with a route goes on to its first hop, and the client hears of it if it asks', async () => {
  const it = scene(() => it.clock.advance(400))
  const route = [NEXT, LAST]
  await it.runner.run(it.served, step(1, 0, 0, 2, { route, answerRows: 1 }))
  await it.runner.run(it.served, step(1, 1, 2, 1, { route, mirror: true }))
  expect(it.pushed.map(({ hop }) => hop)).toEqual([NEXT, NEXT])
  expect(it.pushed.map((one) => one.step.route)).toEqual([[LAST], [LAST]])
  // All rows go on, whatever is asked of the last server, in what is left of the time.
  expect(it.pushed.map((one) => [one.step.tensor.rows, one.step.deadlineMs])).toEqual([
    [2, 600],
    [1, 600]
  ])
  expect(it.owner.results.map((result) => result.step)).toEqual([1])
  it.pushed[0]?.onfailure(new AppError('UNAVAILABLE', 'nobody there'))
  expect(codes(it.owner)).toEqual(['UNAVAILABLE'])
})

test('a step that waited longer than its deadline is not computed', async () => {
  const it = scene(() => it.clock.advance(1001))
  await it.runner.run(it.served, step(1, 0, 0, 1, { deadlineMs: 1000 }))
  expect([codes(it.owner), it.ran, it.served.length]).toEqual([['TIMEOUT'], [], 0])
})

test('a step behind the end of its session asks for a replay; one before it cuts', async () => {
  const it = scene()
  await it.runner.run(it.served, step(1, 0, 0, 4))
  await it.runner.run(it.served, step(1, 1, 5))
  await it.runner.run(it.served, step(1, 2, 1))
  expect([codes(it.owner), it.served.length]).toEqual([['NOT_FOUND'], 2])
  expect(it.ran.map(({ start }) => start)).toEqual([0, 1])
})

test('nobody is answered for a step that was cancelled before it ran', async () => {
  const it = scene(() => {
    it.steps.cancel(it.served)
    throw new AppError('CANCELLED', 'The step was cancelled')
  })
  await it.runner.run(it.served, step(1, 0, 0))
  expect([it.owner.errors, it.owner.results, it.steps.size]).toEqual([[], [], 0])
})

test('without memory, kept prefixes are freed until the step runs, once, with the same rows', async () => {
  let tries = 0
  const it = scene(() => {
    if (++tries < 3) throw new AppError('NO_MEMORY', 'No room')
  }, 2)
  await it.runner.run(it.served, step(1, 0, 0))
  expect([tries, codes(it.owner), it.ran]).toEqual([3, [], [{ start: 0, rows: [0, 1, 2, 3] }]])
})

test('with nothing left to free, the step is refused and the session stays as it was', async () => {
  const it = scene(() => {
    throw new AppError('NO_MEMORY', 'No room')
  }, 1)
  await it.runner.run(it.served, step(1, 0, 0))
  expect([codes(it.owner), it.served.length, it.ran]).toEqual([['NO_MEMORY'], 0, []])
})

test('a step may come before its session is open in the engine, and waits for that', async () => {
  const it = scene()
  const opening = Promise.withResolvers<void>()
  it.served.compute = undefined
  it.served.opening = opening.promise
  const running = it.runner.run(it.served, step(1, 0, 0))
  expect(it.ran).toEqual([])
  it.served.compute = 9
  opening.resolve()
  await running
  expect(it.owner.results.length).toBe(1)
})
