import { expect, test } from 'bun:test'
import { betterRoute, moveMs, newHops } from '../../src/client/replan.ts'
import type { Candidate } from '../../src/client/route.ts'
import { seededRandom } from '../../src/base/random.ts'

const onA = [{ peer: 'a', first: 0, last: 8 }]
const onB = [{ peer: 'b', first: 0, last: 8 }]

function timed(hops: typeof onA, expectedMs: number): { hops: typeof onA; expectedMs: number } {
  return { hops, expectedMs }
}

test('betterRoute() moves when the planned route is clearly faster, not when a little', () => {
  const better = [99, 75, 71, 50].map((ms) => betterRoute(timed(onA, 100), timed(onB, ms)))
  expect(better).toEqual([false, false, true, true])
})

test('betterRoute() stays on the same hops whatever they promise', () => {
  expect(betterRoute(timed(onA, 100), timed(onA, 1))).toBe(false)
})

test('betterRoute() does not move for a saving that noise could make', () => {
  expect(betterRoute(timed(onA, 3), timed(onB, 1.5))).toBe(false)
})

test('betterRoute() moves only when the tokens to come pay for the replay', () => {
  const options = { moveMs: 1000 }
  const better = [10, 30, 60].map((tokensLeft) =>
    betterRoute(timed(onA, 100), timed(onB, 50), { ...options, tokensLeft })
  )
  expect(better).toEqual([false, false, true])
})

test('betterRoute() leaves a route that no longer works at once, whatever the cost', () => {
  const options = { moveMs: 1e6, moves: 9, sinceMoveMs: 0 }
  expect(betterRoute(timed(onA, Infinity), timed(onB, 500), options)).toBe(true)
})

test('betterRoute() rests longer after each move', () => {
  const at = (moves: number, sinceMoveMs: number): boolean =>
    betterRoute(timed(onA, 100), timed(onB, 20), { moves, sinceMoveMs })
  expect([at(0, 0), at(1, 4999), at(1, 5000), at(2, 5000), at(2, 10_000)]).toEqual([
    true,
    false,
    true,
    false,
    true
  ])
})

test('betterRoute() does not flap between two routes whose times swing by a half', () => {
  const random = seededRandom(7)
  let onFirst = true
  let moves = 0
  let movedAt = 0
  for (let now = 0; now < 600_000; now += 1000) {
    const a = timed(onA, 100 * (1 + random.next() / 2))
    const b = timed(onB, 100 * (1 + random.next() / 2))
    const [current, planned] = onFirst ? [a, b] : [b, a]
    if (!betterRoute(current, planned, { moves, sinceMoveMs: now - movedAt })) continue
    onFirst = !onFirst
    moves++
    movedAt = now
  }
  expect(moves).toBeLessThan(4)
})

test('moveMs() counts only hops that are new', () => {
  const rest = { peer: 'c', first: 8, last: 16 }
  const b: Candidate = { peer: 'b', first: 0, last: 8, blockMs: 1, queueMs: 3, rttMs: 10 }
  const [current, planned] = [
    [...onA, rest],
    [...onB, rest]
  ]
  expect(newHops(current, planned)).toEqual(onB)
  expect(moveMs(current, planned, [b], { historyTokens: 100, prefillShare: 0.25 })).toBe(
    20 + 10 + 3 + 200
  )
})
