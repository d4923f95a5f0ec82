import { expect, test } from 'bun:test'
import { planRoute, uncovered, type Candidate } from '../../src/client/route.ts'

function server(
  peer: string,
  first: number,
  last: number,
  more: Partial<Candidate> = {}
): Candidate {
  return { peer, first, last, blockMs: 1, queueMs: 0, rttMs: 10, ...more }
}

function names(candidates: Candidate[], avoid: string[] = []): string[] {
  const { hops } = planRoute(candidates, 0, 30, { avoid: new Set(avoid) })
  return hops.map((hop) => `${hop.peer} ${hop.first}:${hop.last}`)
}

test('planRoute() chains spans that meet', () => {
  const all = [server('c', 20, 30), server('a', 0, 10), server('b', 10, 20)]
  expect(names(all)).toEqual(['a 0:10', 'b 10:20', 'c 20:30'])
})

test('planRoute() prefers one server to three that are as fast', () => {
  const all = [server('a', 0, 10), server('b', 10, 20), server('c', 20, 30), server('w', 0, 30)]
  expect(names(all)).toEqual(['w 0:30'])
})

test('planRoute() leaves a slow server as soon as a faster one can go on', () => {
  const all = [server('slow', 0, 30, { blockMs: 20 }), server('fast', 12, 30)]
  expect(names(all)).toEqual(['slow 0:12', 'fast 12:30'])
})

test('planRoute() goes round a long queue', () => {
  const all = [server('a', 0, 30, { queueMs: 500 }), server('b', 0, 30)]
  expect(names(all)).toEqual(['b 0:30'])
})

test('planRoute() avoids what it is told to', () => {
  expect(names([server('a', 0, 30), server('b', 0, 30, { rttMs: 90 })], ['a'])).toEqual(['b 0:30'])
})

test('planRoute() never goes through one server twice', () => {
  const all = [
    server('a', 0, 30, { blockMs: 5 }),
    server('b', 10, 20, { blockMs: 0.1 }),
    server('c', 20, 30, { blockMs: 6 })
  ]
  expect(names(all)).toEqual(['a 0:10', 'b 10:20', 'c 20:30'])
})

test('planRoute() expects half a trip in, half a trip out, and the computing between', () => {
  const { expectedMs } = planRoute([server('a', 0, 30, { queueMs: 3 })], 0, 30)
  expect(expectedMs).toBe(5 + 3 + 30 + 5)
})

test('planRoute() names the blocks that nobody serves', () => {
  expect(() => names([server('a', 0, 10), server('c', 20, 25)])).toThrow(
    'nobody serves blocks 10:20, 25:30'
  )
})

test('uncovered() lists gaps of overlapping spans in order', () => {
  const spans = [
    { first: 4, last: 6 },
    { first: 1, last: 3 },
    { first: 5, last: 9 }
  ]
  expect(uncovered(spans, 0, 10)).toEqual([
    [0, 1],
    [3, 4],
    [9, 10]
  ])
})
