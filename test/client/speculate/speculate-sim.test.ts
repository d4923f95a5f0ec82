// The promise of speculation, over a simulated swarm with the measured price of rows: never below
// 0.97 of plain decoding, and far above it where text repeats and trips are long.
import { expect, test } from 'bun:test'
import { computeMs, simulate, type Scene } from '../../support/speculation-sim.ts'

const SEEDS = 25

function gains(scene: Omit<Scene, 'seed'>): number[] {
  const all = Array.from({ length: SEEDS }, (_, seed) => simulate({ ...scene, seed }).gain)
  return all.sort((a, b) => a - b)
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

/** The best that any fixed number of guesses can reach on average. */
function ideal(rttMs: number, right: number): number {
  let best = 1
  for (let drafted = 1; drafted <= 31; drafted++) {
    const tokens = (1 - right ** (drafted + 1)) / (1 - right)
    best = Math.max(best, (tokens * (rttMs + computeMs(1))) / (rttMs + computeMs(drafted + 1)))
  }
  return best
}

for (const rttMs of [0, 20, 100]) {
  test(`at ${rttMs} ms a trip no acceptance is slower than 0.97 of plain, from ten tokens on`, () => {
    for (const right of [0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95]) {
      for (const tokens of [10, 30, 100, 400]) {
        const [worst = 0] = gains({ tokens, rttMs: () => rttMs, acceptance: () => right })
        expect({ right, tokens, fine: worst >= 0.97, worst }).toMatchObject({ fine: true })
      }
    }
  })

  test(`at ${rttMs} ms a trip it comes within a tenth of the best length in hindsight`, () => {
    for (const right of [0.2, 0.5, 0.8, 0.9]) {
      const gain = mean(gains({ tokens: 2000, rttMs: () => rttMs, acceptance: () => right }))
      expect({ right, share: gain / ideal(rttMs, right) > 0.9 }).toEqual({ right, share: true })
    }
  })
}

test('at 100 ms a trip repeating text is at least twice as fast, from 100 tokens on', () => {
  for (const right of [0.7, 0.8, 0.9, 0.95]) {
    for (const tokens of [100, 400]) {
      const all = gains({ tokens, rttMs: () => 100, acceptance: () => right })
      expect({ right, tokens, fine: mean(all) > 2 }).toEqual({ right, tokens, fine: true })
    }
  }
})

test('text that repeats only in bursts never falls below 0.97', () => {
  const bursts: ((token: number) => number)[] = [
    (token) => (token % 40 < 20 ? 0.98 : 0),
    (token) => (token % 20 < 5 ? 0.98 : 0),
    (token) => (token % 8 < 3 ? 1 : 0),
    (token) => (token % 400 < 100 ? 0.95 : 0.02)
  ]
  for (const [burst, acceptance] of bursts.entries()) {
    for (const rttMs of [0, 20, 100]) {
      const [worst = 0] = gains({ tokens: 400, rttMs: () => rttMs, acceptance })
      expect({ burst, rttMs, fine: worst >= 0.97, worst }).toMatchObject({ fine: true })
    }
  }
})

test('guesses that take time to make are made only where they pay', () => {
  for (const rttMs of [0, 100]) {
    for (const right of [0, 0.3, 0.7]) {
      const scene = { tokens: 1000, rttMs: () => rttMs, acceptance: () => right, matched: 0 }
      const all = gains({ ...scene, guessMs: 6 })
      expect({ rttMs, right, fine: (all[0] ?? 0) >= 0.97 }).toEqual({ rttMs, right, fine: true })
    }
  }
  const paying = { tokens: 1000, rttMs: () => 100, acceptance: () => 0.8, matched: 0, guessMs: 6 }
  expect(mean(gains(paying))).toBeGreaterThan(2)
})

test('unsteady trips and reroutes of seconds cost nothing on average', () => {
  for (const rttMs of [0, 20, 100]) {
    for (const right of [0, 0.1, 0.3]) {
      const all = gains({
        tokens: 1000,
        rttMs: () => rttMs,
        acceptance: () => right,
        jitter: 0.3
      })
      expect({ rttMs, right, fine: mean(all) >= 0.97 }).toEqual({ rttMs, right, fine: true })
    }
  }
  const hit = gains({
    tokens: 1000,
    rttMs: () => 50,
    acceptance: () => 0.9,
    hiccups: 0.002
  })
  expect(mean(hit)).toBeGreaterThan(3)
})

test('it turns itself off when a route becomes short and on when it becomes long', () => {
  const rttMs = (token: number): number => (token < 1000 || token >= 3000 ? 200 : 0)
  const drafted = (tokens: number): number =>
    mean(
      Array.from(
        { length: SEEDS },
        (_, seed) => simulate({ tokens, rttMs, acceptance: () => 0.1, seed }).drafted
      )
    )
  // Each share is of the last 1,000 tokens: the change itself takes some to be learned.
  const [long, short, again] = [1000, 3000, 4000].map(
    (tokens) => (drafted(tokens) - drafted(tokens - 1000)) / 1000
  )
  expect(long).toBeGreaterThan(0.5)
  expect(short).toBeLessThan(0.15)
  expect(again).toBeGreaterThan(0.5)
})
