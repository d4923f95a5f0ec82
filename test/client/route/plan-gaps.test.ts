// Who takes over the blocks of a server that is gone: a policy over candidates.
import { expect, test } from 'bun:test'
import { planGaps } from '../../../src/client/route/plan-gaps.ts'
import type { Candidate, RouteHop } from '../../../src/client/route/route.ts'

function server(peer: string, start: number, end: number): Candidate {
  return { peer, start, end, blockMs: 1, queueMs: 0, rttMs: 10 }
}

function hop(peer: string, start: number, end: number): RouteHop {
  return { peer, start, end }
}

const options = { blockCount: 30, tokens: 10, failed: [] as string[] }
const ends = [hop('a', 0, 10), hop('c', 20, 30)]
const known = [server('a', 0, 10), server('b', 10, 20), server('c', 20, 30)]

test('a gap is given to a server that is free, and the others stay', () => {
  expect(planGaps(ends, known, options)).toEqual({ leave: [], enter: [hop('b', 10, 20)] })
})

test('a server that has a part of the gap beside it already takes all of its blocks', () => {
  const current = [...ends, hop('b', 19, 20)]
  expect(planGaps(current, known, options)).toEqual({
    leave: [hop('b', 19, 20)],
    enter: [hop('b', 10, 20)]
  })
})

test('another cut by sound servers goes before one that failed', () => {
  const candidates = [...known, server('wide', 5, 25)]
  const plan = planGaps(ends, candidates, { ...options, failed: ['b'] })
  expect(plan.enter.map(({ peer }) => peer)).toContain('wide')
})

test('of those that failed, who is asked again soonest is asked, and nobody who is not needed', () => {
  const candidates = [...known, server('b2', 10, 20)]
  const plan = (failed: string[]): string[] =>
    planGaps(ends, candidates, { ...options, failed }).enter.map(({ peer }) => peer)
  expect([plan(['b', 'b2']), plan(['b2', 'b']), plan(['a', 'b2', 'b'])]).toEqual([
    ['b'],
    ['b2'],
    ['b2']
  ])
})

test('blocks that nobody serves are named', () => {
  expect(() => planGaps(ends, known.slice(0, 1), options)).toThrow('nobody serves blocks 10:30')
})

test("servers of the session's arithmetic go first, by another cut too, and all before failed ones", () => {
  const like = (one: Candidate): Candidate => ({ ...one, arithmetic: 'petals-1' })
  const enter = (candidates: Candidate[], more: object = {}): string[] =>
    planGaps(ends, candidates, { ...options, arithmetic: 'petals-1', ...more }).enter.map(
      ({ peer }) => peer
    )
  const [b, near] = [like(server('b', 10, 20)), { ...server('near', 10, 20), rttMs: 1 }]
  const sides = [like(server('a', 0, 10)), like(server('c', 20, 30))]
  expect(enter([...sides, b, near])).toEqual(['b'])
  expect(enter([...sides, near])).toEqual(['near'])
  expect(enter([...sides, b, near], { failed: ['b'] })).toEqual(['near'])
  expect(enter([...sides, near, like(server('wide', 10, 30))])).toEqual(['wide'])
  expect(enter([...sides, b, near], { arithmetic: null })).toEqual(['near'])
  expect(enter([...sides, b, near], { arithmetic: undefined })).toEqual(['near'])
})
