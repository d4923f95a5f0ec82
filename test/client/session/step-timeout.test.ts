import { expect, test } from 'bun:test'
import { StepTimeout } from '../../../src/client/session/step-timeout.ts'

test('a step timeout is long with what is unknown, and a multiple of what was seen', () => {
  const timeout = new StepTimeout(60_000)
  expect([timeout.limitMs(1, 10), timeout.limitMs(128, 10)]).toEqual([60_000, 60_000])
  timeout.note(1, 10, 30)
  expect([timeout.limitMs(1, 10), timeout.limitMs(128, 10)]).toEqual([5_000, 60_000])
  timeout.note(128, 10, 1280)
  expect([timeout.limitMs(1, 10), timeout.limitMs(128, 20)]).toEqual([5_000, 51_200])
  timeout.note(1, 10, 1_000)
  expect(timeout.limitMs(1, 10)).toBe(20_000)
})

test('a step timeout doubles each time that it runs out, until an answer comes', () => {
  const timeout = new StepTimeout(60_000)
  timeout.note(1, 10, 30)
  const limits = [1, 2, 3, 4].map(() => {
    timeout.ranOut()
    return timeout.limitMs(1, 10)
  })
  expect(limits).toEqual([10_000, 20_000, 40_000, 60_000])
  timeout.note(1, 10, 30)
  expect(timeout.limitMs(1, 10)).toBe(5_000)
})
