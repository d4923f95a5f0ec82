import { expect, test } from 'bun:test'
import {
  betterRoute,
  chooseRoute,
  moveMs,
  newHops,
  worthMeasuring
} from '../../../src/client/route/replan.ts'
import type { Candidate } from '../../../src/client/route/route.ts'
import { seededRandom } from '../../../src/base/random.ts'

const onA = [{ peer: 'a', start: 0, end: 8 }]
const onB = [{ peer: 'b', start: 0, end: 8 }]

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
  const rest = { peer: 'c', start: 8, end: 16 }
  const b: Candidate = { peer: 'b', start: 0, end: 8, blockMs: 1, queueMs: 3, rttMs: 10 }
  const [current, planned] = [
    [...onA, rest],
    [...onB, rest]
  ]
  expect(newHops(current, planned)).toEqual(onB)
  expect(moveMs(current, planned, [b], { historyTokens: 100, prefillShare: 0.25 })).toBe(
    20 + 10 + 3 + 200
  )
})

const rider = { hops: onA, historyTokens: 10, tokensLeft: 100, maxTokens: 200, blockCount: 8 }

function whole(peer: string, blockMs: number, rttMs: number): Candidate {
  return { peer, start: 0, end: 8, blockMs, queueMs: 0, rttMs }
}

test('chooseRoute() goes to a clearly faster server, and from one that is there no more', () => {
  const [slow, fast, gone] = [whole('a', 10, 20), whole('b', 1, 20), whole('c', 30, 20)]
  expect(chooseRoute(rider, [slow, fast])).toEqual(onB)
  expect(chooseRoute(rider, [slow, { ...fast, blockMs: 9 }])).toBeUndefined()
  expect(chooseRoute(rider, [slow, fast], { avoid: new Set(['b']) })).toBeUndefined()
  expect(chooseRoute(rider, [gone])?.map((hop) => hop.peer)).toEqual(['c'])
})

test('chooseRoute() counts what the history costs', () => {
  const candidates = [whole('a', 10, 20), whole('b', 5, 20)]
  const moved = [100, 100_000].map((historyTokens) =>
    chooseRoute({ ...rider, historyTokens }, candidates)
  )
  expect(moved).toEqual([onB, undefined])
})

test('worthMeasuring() names strangers that would be better if they were near', () => {
  const known = (peer: string): boolean => peer === 'a'
  const candidates = [whole('a', 10, 40), whole('b', 1, 300), whole('c', 9, 300)]
  expect(worthMeasuring(rider, candidates, known)).toEqual(['b'])
  expect(worthMeasuring(rider, candidates.toSpliced(1, 1), known)).toEqual([])
  expect(worthMeasuring(rider, candidates, known, { avoid: new Set(['b']) })).toEqual([])
})
