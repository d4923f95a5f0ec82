import { expect, test } from 'bun:test'
import { systemClock } from '../../src/base/clock.ts'
import { latenessOf, RttEstimator, TimerLateness } from '../../src/wire/rtt-estimator.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'

test('limitMs() is the least limit for a near peer, and grows with slow and swinging pongs', () => {
  const [near, slow, swinging] = [1, 2, 3].map(() => new RttEstimator(1200))
  for (let i = 0; i < 40; i++) {
    near?.note(1)
    slow?.note(900)
    swinging?.note(i % 2 === 0 ? 100 : 900)
  }
  expect(near?.limitMs(0)).toBe(1200)
  expect(slow?.limitMs(0)).toBeCloseTo(1500, 0)
  expect(swinging?.limitMs(0)).toBeGreaterThan(2300)
  expect(new RttEstimator(1200).limitMs(0)).toBe(1200)
})

test('limitMs() grows when our own timers are late, up to a bound', () => {
  const [rtt, lateness] = [new RttEstimator(1200), new TimerLateness()]
  const limitAfter = (times: number, lateMs: number): number => {
    for (let i = 0; i < times; i++) lateness.note(lateMs)
    return rtt.limitMs(lateness.ms)
  }
  expect(limitAfter(40, 30)).toBeCloseTo(1800, 0)
  expect(limitAfter(40, 3000)).toBe(6000)
  expect(limitAfter(60, 0)).toBeCloseTo(1200, 0)
})

test('latenessOf() is one for all who run by the same clock', () => {
  const clock = new FakeClock()
  expect(latenessOf(clock)).toBe(latenessOf(clock))
  expect(latenessOf(clock)).not.toBe(latenessOf(systemClock))
})
