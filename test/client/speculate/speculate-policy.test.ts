import { expect, test } from 'bun:test'
import { seededRandom } from '../../../src/base/random.ts'
import { StepCosts } from '../../../src/client/speculate/speculate-cost.ts'
import { chooseDraft, type Estimates } from '../../../src/client/speculate/speculate-policy.ts'
import { Acceptance } from '../../../src/client/speculate/speculate.ts'

function draftLength(given: Estimates, matched: number, most: number): number {
  return chooseDraft(given, matched, most).length
}

function estimates(more: Partial<Estimates> = {}): Estimates {
  return {
    costMs: (rows) => 10 + 2 * (rows - 1),
    acceptance: () => 0.8,
    guessMs: 0,
    spareMs: 1000,
    measured: true,
    ...more
  }
}

/** Tokens a ms of `drafted` guesses, each right with probability `right`. */
function rate(right: number, costMs: number, drafted: number): number {
  let tokens = 0
  for (let i = 0; i <= drafted; i++) tokens += right ** i
  return tokens / costMs
}

test('chooseDraft() is the length with the most tokens a ms, found by trying all', () => {
  const random = seededRandom(8)
  for (let i = 0; i < 300; i++) {
    const right = 0.3 + random.next() * 0.69
    const [tripMs, rowMs] = [1 + random.next() * 100, random.next() * 4]
    const costMs = (rows: number): number => tripMs + rowMs * rows
    const lengths = Array.from({ length: 32 }, (_, drafted) => drafted)
    const rates = lengths.map((drafted) => rate(right, costMs(drafted + 1), drafted))
    const best = Math.max(...rates)
    const chosen = draftLength(estimates({ costMs, acceptance: () => right }), 2, 31)
    // Guesses behind many others are not looked at, and 2 % are not worth the risk.
    expect((rates[chosen] ?? 0) / best).toBeGreaterThan(0.975)
  }
})

test('chooseDraft() is 0 when no guess pays for its row', () => {
  expect(draftLength(estimates({ acceptance: () => 0.19 }), 2, 31)).toBe(0)
})

test('chooseDraft() grows with the time of a trip', () => {
  const lengths = [0, 20, 100, 400].map((rttMs) =>
    draftLength(estimates({ costMs: (rows) => rttMs + 10 + 2 * (rows - 1) }), 2, 31)
  )
  expect(lengths).toEqual([...lengths].sort((a, b) => a - b))
  expect(lengths[3]).toBeGreaterThan((lengths[0] ?? 0) * 2)
})

test('chooseDraft() sends more behind a longer match when those are right more often', () => {
  const acceptance = (matched: number): number => (matched >= 4 ? 0.95 : 0.3)
  const [short, long] = [2, 4].map((matched) => draftLength(estimates({ acceptance }), matched, 31))
  expect(long).toBeGreaterThan(short ?? 0)
})

test('chooseDraft() never goes over what is offered', () => {
  expect([0, 1, 3].map((most) => draftLength(estimates(), 2, most))).toEqual([0, 1, 3])
})

test('chooseDraft() risks no more than it may lose', () => {
  const acceptance = (): number => 0.6
  // One guess that is wrong costs a row, 2 ms, four times in ten.
  const lengths = [0, 0.79, 0.81].map((spareMs) =>
    draftLength(estimates({ acceptance, spareMs }), 2, 31)
  )
  expect(lengths).toEqual([0, 0, 1])
})

test('chooseDraft() tries one guess that may not pay, only to measure what a row costs', () => {
  const poor = { acceptance: () => 0.15 }
  expect([
    draftLength(estimates({ ...poor, measured: false }), 2, 31),
    draftLength(estimates({ ...poor, measured: true }), 2, 31),
    draftLength(estimates({ ...poor, measured: false, spareMs: 0 }), 2, 31),
    draftLength(estimates({ acceptance: () => 0.01, measured: false }), 2, 31)
  ]).toEqual([1, 0, 0, 0])
})

test('chooseDraft() is 0 while nothing is known of trips', () => {
  expect(draftLength(estimates({ costMs: () => 0, measured: false }), 2, 31)).toBe(0)
})

test('chooseDraft() sends fewer guesses that take time to make, and none when they take too much', () => {
  const lengths = [0, 3, 20].map((guessMs) => draftLength(estimates({ guessMs }), 2, 31))
  expect(lengths[0]).toBeGreaterThan(lengths[1] ?? 0)
  expect(lengths[1]).toBeGreaterThan(0)
  expect(lengths[2]).toBe(0)
})

test('chooseDraft() promises tokens a ms that can be compared between drafters', () => {
  const { length, rate } = chooseDraft(estimates({ guessMs: 1 }), 2, 2)
  expect(length).toBe(2)
  expect(rate).toBeCloseTo((1 + 0.8 + 0.64) / (14 + 2), 9)
})

test('StepCosts learns a line from trips with few different numbers of rows', () => {
  const costs = new StepCosts()
  const random = seededRandom(2)
  for (let i = 0; i < 60; i++) {
    const rows = 1 + random.below(4) * 3
    costs.note(rows, (100 + 5 * rows) * (0.9 + 0.2 * random.next()))
  }
  for (const rows of [1, 6, 12]) {
    expect(Math.abs(costs.at(rows) / (100 + 5 * rows) - 1)).toBeLessThan(0.06)
  }
})

test('StepCosts keeps to what a number of rows was measured at, off the line', () => {
  const costs = new StepCosts()
  for (let i = 0; i < 100; i++) costs.note(1 + (i % 8), i % 8 === 4 ? 60 : 20 + (i % 8))
  expect(costs.at(5)).toBeGreaterThan(45)
  expect(costs.at(4)).toBeLessThan(30)
})

test('StepCosts takes a trip of seconds for a hiccup', () => {
  const costs = new StepCosts()
  for (let i = 0; i < 30; i++) costs.note(1 + (i % 3), 50 + (i % 3))
  const before = costs.at(2)
  costs.note(2, 60_000)
  expect(costs.at(2)).toBeLessThan(before * 1.4)
})

test('StepCosts follows a route that becomes slower', () => {
  const costs = new StepCosts()
  for (let i = 0; i < 200; i++) costs.note(1, 20)
  for (let i = 0; i < 80; i++) costs.note(1, 200)
  expect(costs.at(1)).toBeGreaterThan(150)
})

test('StepCosts forgets what rows cost when only single rows were sent for long', () => {
  const costs = new StepCosts()
  costs.note(2, 20)
  costs.note(2, 20)
  const before = costs.measured
  for (let i = 0; i < 100; i++) costs.note(1, 20)
  expect([before, costs.measured]).toEqual([true, false])
})

test('Acceptance learns longer matches apart from shorter ones', () => {
  const acceptance = new Acceptance()
  for (let i = 0; i < 60; i++) {
    acceptance.note(2, i % 4 === 0)
    acceptance.note(6, i % 10 !== 0)
  }
  expect([2, 6].map((matched) => Math.round(acceptance.of(matched) * 5) / 5)).toEqual([0.2, 0.8])
})

test('Acceptance of guesses that nobody makes drifts back to not knowing', () => {
  const acceptance = new Acceptance()
  for (let i = 0; i < 60; i++) acceptance.note(0, false)
  const before = acceptance.of(0)
  for (let i = 0; i < 300; i++) acceptance.fade()
  expect([before < 0.05, acceptance.of(0) > 0.2]).toEqual([true, true])
})

test('Acceptance expects of a longer match at first what shorter ones showed', () => {
  const acceptance = new Acceptance()
  for (let i = 0; i < 60; i++) acceptance.note(2, false)
  expect(acceptance.of(5)).toBe(acceptance.of(2))
  expect(acceptance.of(2)).toBeLessThan(0.05)
})
