import { expect, test } from 'bun:test'
import { seededRandom } from '../../../src/base/random.ts'
import {
  planRoute,
  routeMs,
  uncovered,
  type Candidate,
  type RouteHop
} from '../../../src/client/route/route.ts'

function server(
  peer: string,
  start: number,
  end: number,
  more: Partial<Candidate> = {}
): Candidate {
  return { peer, start, end, blockMs: 1, queueMs: 0, rttMs: 10, ...more }
}

function names(candidates: Candidate[], avoid: string[] = []): string[] {
  const { hops } = planRoute(candidates, 0, 30, { avoid: new Set(avoid) })
  return hops.map((hop) => `${hop.peer} ${hop.start}:${hop.end}`)
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

test('planRoute() avoids a long queue', () => {
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
    { start: 4, end: 6 },
    { start: 1, end: 3 },
    { start: 5, end: 9 }
  ]
  expect(uncovered(spans, 0, 10)).toEqual([
    [0, 1],
    [3, 4],
    [9, 10]
  ])
})

test('planRoute() believes a published ping over its guess', () => {
  const near = new Map([['b', 2]])
  const far = new Map([['c', 200]])
  const all = [
    server('a', 0, 10, { pings: new Map([...near, ...far]), rttMs: 100 }),
    server('b', 10, 30, { rttMs: 110 }),
    server('c', 10, 30, { rttMs: 100 })
  ]
  expect(names(all)).toEqual(['a 0:10', 'b 10:30'])
})

test('planRoute() is not fooled by a ping that makes no sense', () => {
  const all = [
    server('a', 0, 10, { pings: new Map([['b', -5000]]) }),
    server('b', 10, 30, { blockMs: 3 }),
    server('c', 10, 30)
  ]
  expect(names(all)).toEqual(['a 0:10', 'c 10:30'])
})

test('planRoute() goes to a server without room for the session only when no other is there', () => {
  const full = server('full', 0, 30, { freeTokens: 10 })
  const slow = server('slow', 0, 30, { freeTokens: 100, blockMs: 9 })
  const peers = [[full, slow], [full]].map(
    (all) => planRoute(all, 0, 30, { tokens: 50 }).hops[0]?.peer
  )
  expect(peers).toEqual(['slow', 'full'])
})

test('planRoute() is as fast as the best of all chains, and routeMs() agrees with it', () => {
  for (let seed = 1; seed <= 60; seed++) {
    const all = randomSwarm(seed)
    const route = planRoute(all, 0, 6)
    expect({ seed, ms: route.expectedMs }).toEqual({ seed, ms: expect.closeTo(fastest(all), 6) })
    expect({ seed, ms: routeMs(route.hops, all) }).toEqual({
      seed,
      ms: expect.closeTo(route.expectedMs, 6)
    })
  }
})

test('routeMs() knows no time for a route whose server left or moved', () => {
  const hops = [{ peer: 'a', start: 0, end: 10 }]
  expect([routeMs(hops, []), routeMs(hops, [server('a', 5, 15)])]).toEqual([undefined, undefined])
})

function randomSwarm(seed: number): Candidate[] {
  const random = seededRandom(seed)
  const all: Candidate[] = []
  for (let at = 0; at < 8; at++) {
    const start = at < 3 ? at * 2 : random.below(5)
    const pings = new Map([[String(random.below(8)), random.next() * 40]])
    const times = { queueMs: random.next() * 5, rttMs: random.next() * 60, pings }
    const end = Math.min(6, start + 2 + random.below(3))
    all.push(server(String(at), start, end, { blockMs: 1 + random.next() * 20, ...times }))
  }
  return all
}

/** Tries every chain without a server twice. */
function fastest(all: Candidate[], hops: RouteHop[] = []): number {
  const at = hops.at(-1)?.end ?? 0
  if (at === 6) return routeMs(hops, all) ?? Infinity
  let best = Infinity
  for (const one of all) {
    if (one.start > at || hops.some((hop) => hop.peer === one.peer)) continue
    for (let end = at + 1; end <= one.end; end++) {
      best = Math.min(best, fastest(all, [...hops, { peer: one.peer, start: at, end }]))
    }
  }
  return best
}
