// Training in the scheduler: it gives way to steps, goes on afterwards, and is not starved.
import { expect, test } from 'bun:test'
import { systemClock } from '../../src/base/clock.ts'
import { closed } from '../../src/base/errors.ts'
import { Scheduler } from '../../src/blocks/scheduler/scheduler.ts'

interface Bench {
  readonly scheduler: Scheduler
  /** What ran, in order. */
  readonly ran: string[]
  /** Ends the slice under way as the engine does when it is told to stop. */
  stopped: () => void
}

function bench(): Bench {
  const made: Bench = {
    ran: [],
    stopped: () => {},
    scheduler: new Scheduler({
      clock: systemClock,
      rows: () => 16,
      run: async (pieces) => {
        made.ran.push('step')
        return pieces.map(({ hidden }) => hidden)
      },
      runHead: async ({ hidden }) => hidden,
      stop: () => made.stopped(),
      cut: () => {}
    })
  }
  return made
}

const step = { session: 1, start: 0, count: 1, hidden: new Float32Array(4) }

test('a step that comes ends the slice under way, runs, and training goes on', async () => {
  const made = bench()
  const began = Promise.withResolvers<void>()
  let slices = 0
  const training = made.scheduler.train(async () => {
    slices++
    made.ran.push(`slice ${slices}`)
    if (slices > 1) return { done: true }
    const { promise, resolve } = Promise.withResolvers<undefined>()
    made.stopped = () => resolve(undefined)
    began.resolve()
    return promise
  })
  await began.promise
  await made.scheduler.step(step, 'group')
  expect(await training).toEqual({ done: true })
  expect(made.ran).toEqual(['slice 1', 'step', 'slice 2'])
})

test('trainings run one after another, and one that fails does not end the others', async () => {
  const made = bench()
  const first = made.scheduler.train(async (): Promise<object> => {
    throw new RangeError('bad')
  })
  const second = made.scheduler.train(async () => ({ second: true }))
  await expect(first).rejects.toThrow('bad')
  expect(await second).toEqual({ second: true })
})

test('a training that is cancelled stops its slice and is not called again', async () => {
  const made = bench()
  const stop = new AbortController()
  const began = Promise.withResolvers<void>()
  let slices = 0
  const training = made.scheduler.train(async () => {
    slices++
    const { promise, resolve } = Promise.withResolvers<undefined>()
    made.stopped = () => resolve(undefined)
    began.resolve()
    return promise
  }, stop.signal)
  await began.promise
  stop.abort()
  await expect(training).rejects.toMatchObject({ code: 'CANCELLED' })
  await made.scheduler.step(step, 'group')
  expect(slices).toBe(1)
})

test('closing ends what waits', async () => {
  const made = bench()
  const began = Promise.withResolvers<void>()
  const training = made.scheduler.train(() => {
    began.resolve()
    return new Promise<undefined>((resolve) => (made.stopped = () => resolve(undefined)))
  })
  await began.promise
  made.scheduler.close(closed('over'))
  await expect(training).rejects.toMatchObject({ code: 'CLOSED' })
})
