// The clock that tests drive keeps the promises of a Clock.
import { expect, test } from 'bun:test'
import { FakeClock } from '../support/fakes/fake-clock.ts'

test('FakeClock fires in the order in which timers are due, and as set when at once', async () => {
  const clock = new FakeClock()
  const fired: string[] = []
  for (const [name, ms] of Object.entries({ late: 20, first: 10, second: 10, never: 31 })) {
    clock.after(ms, () => fired.push(`${name} at ${clock.now()}`))
  }
  await clock.advance(30)
  expect(fired).toEqual(['first at 10', 'second at 10', 'late at 20'])
  expect([clock.now(), clock.pending, clock.nextMs]).toEqual([30, 1, 1])
})

test('FakeClock fires what a fired timer or a promise after it sets', async () => {
  const clock = new FakeClock()
  const fired: number[] = []
  clock.after(10, () => {
    void Promise.resolve().then(() => clock.after(10, () => fired.push(clock.now())))
  })
  await clock.advance(20)
  expect(fired).toEqual([20])
})

test('FakeClock forgets a timer that was stopped', async () => {
  const clock = new FakeClock()
  const stop = clock.after(1, () => {
    throw new Error('Fired')
  })
  stop()
  await clock.advance(2)
  expect(clock.pending).toBe(0)
})
