import { expect, test } from 'bun:test'
import { seededRandom } from '../../../src/base/random.ts'
import {
  besideClient,
  claimedTimes,
  engineMs,
  engineTimes,
  forecast,
  withForwards,
  type ClientTimes,
  type HopTimes
} from '../../../src/client/route/forecast.ts'
import { planRoute, routeMs, type Candidate } from '../../../src/client/route/route.ts'

const client: ClientTimes = { embedMs: 0.1, codecMs: 0.2, headMs: 3, sampleMs: 0.7 }
const idle: ClientTimes = { embedMs: 0, codecMs: 0, headMs: 0, sampleMs: 0 }

function hop(peer: string, start: number, end: number, more: Partial<HopTimes> = {}): HopTimes {
  return { peer, start, end, computeMs: end - start, queueMs: 0.5, tripMs: 4, rttMs: 2, ...more }
}

test('forecast() of one server is its trip, its work and the client', () => {
  expect(forecast([hop('a', 0, 10)], client)).toEqual({
    hops: [hop('a', 0, 10)],
    shares: { computeMs: 10, queueMs: 0.5, networkMs: 4, headMs: 3, clientMs: 1 },
    stepMs: 18.5,
    tokensPerSecond: 1000 / 18.5
  })
})

test('forecast() adds the shares up to the step', () => {
  const { shares, stepMs } = forecast([hop('a', 0, 4), hop('b', 4, 9), hop('c', 9, 10)], client)
  expect(Object.values(shares).reduce((sum, ms) => sum + ms, 0)).toBeCloseTo(stepMs, 9)
})

test('forecast() takes half a trip at each end and a published ping between, with frames on both', () => {
  const pings = new Map([['b', 10]])
  const hops = [hop('a', 0, 5, { pings }), hop('b', 5, 10, { tripMs: 8, rttMs: 4 })]
  // Half of a's trip, half of b's, half the ping, and half of what frames cost each: 1 of 2, 2 of
  // 4.
  const between = 10 / 2 + 1 / 2 + 2 / 2
  expect(forecast(hops, idle).shares.networkMs).toBeCloseTo(2 + 4 + between + 0.35, 9)
  const backwards = [
    hop('a', 0, 5),
    hop('b', 5, 10, { tripMs: 8, rttMs: 4, pings: new Map([['a', 10]]) })
  ]
  expect(forecast(backwards, idle).shares.networkMs).toBe(forecast(hops, idle).shares.networkMs)
})

test('forecast() goes by the trips to both where nobody published a ping, or nonsense', () => {
  const hops = (ping: number | undefined): HopTimes[] => [
    hop('a', 0, 5, ping === undefined ? {} : { pings: new Map([['b', ping]]) }),
    hop('b', 5, 10, { tripMs: 8 })
  ]
  const guessed = 2 + 4 + (4 + 8) / 4 + 0.35
  expect([undefined, -3, Number.NaN].map((ping) => forecast(hops(ping), idle).stepMs)).toEqual([
    guessed + 11,
    guessed + 11,
    guessed + 11
  ])
})

test('forecast() takes pushes as they were measured through the whole chain', () => {
  const hops = [hop('a', 0, 3), hop('b', 3, 6, { tripMs: 50 }), hop('c', 6, 9, { tripMs: 8 })]
  const pushed = withForwards(hops, 20)
  expect(forecast(pushed, idle).shares.networkMs).toBeCloseTo(20, 9)
  expect(pushed.map(({ forwardMs }) => forwardMs)).toEqual([undefined, 7, 7])
  // Noise may make a chain quicker than its ends.
  expect(forecast(withForwards(hops, 1), idle).shares.networkMs).toBe(6)
  expect(withForwards([hop('a', 0, 9)], 3)).toEqual([hop('a', 0, 9)])
})

test('forecast() takes a server beside the client to be as far from others as the client is', () => {
  const here = { tripMs: 1, rttMs: 0.2 }
  const hops = [
    hop('a', 0, 2, { tripMs: 20 }),
    hop('here', 2, 4, here),
    hop('b', 4, 6, { tripMs: 40 }),
    hop('c', 6, 8)
  ]
  const known = besideClient(hops, 'here')
  expect(known.map(({ forwardMs }) => forwardMs)).toEqual([undefined, 10.35, 20.35, undefined])
  const rest = (40 + 4) / 4 + 0.35
  expect(forecast(known, idle).shares.networkMs).toBeCloseTo(10 + 10.35 + 20.35 + rest + 2, 9)
})

test('forecast() agrees with what routing expects of the same route, but for frames and mirrors', () => {
  const random = seededRandom(5)
  for (let round = 0; round < 200; round++) {
    const blockCount = 4 + random.below(20)
    const candidates: Candidate[] = Array.from({ length: 3 + random.below(6) }, (_, i) => {
      const start = i === 0 ? 0 : random.below(blockCount)
      const end = i === 0 ? blockCount : start + 1 + random.below(blockCount - start)
      const pings = new Map([[String(random.below(9)), random.next() * 40]])
      const times = {
        blockMs: random.next() * 9,
        queueMs: random.next(),
        rttMs: random.next() * 60
      }
      return { peer: String(i), start, end, ...times, ...(random.below(2) ? { pings } : {}) }
    })
    const { hops, expectedMs } = planRoute(candidates, 0, blockCount)
    const times = hops.map((one) => {
      const candidate = candidates.find(({ peer }) => peer === one.peer)
      if (!candidate) throw new Error('No such candidate')
      return claimedTimes(one, candidate, 0)
    })
    const forwards = hops.length - 1
    expect(forecast(times, idle).stepMs - 0.35 * forwards).toBeCloseTo(
      expectedMs - 0.5 * forwards,
      6
    )
    expect(routeMs(hops, candidates)).toBeCloseTo(expectedMs, 6)
  }
})

test('claimedTimes() puts the cost of frames on what a server claims', () => {
  const candidate = { peer: 'a', start: 0, end: 20, blockMs: 2, queueMs: 1, rttMs: 30 }
  expect(claimedTimes({ peer: 'a', start: 5, end: 9 }, candidate, 0.7)).toEqual({
    peer: 'a',
    start: 5,
    end: 9,
    computeMs: 8,
    queueMs: 1,
    tripMs: 30.7,
    rttMs: 30,
    pings: undefined
  })
})

test('engineTimes() tells the cost of a step from that of a block', () => {
  const times = engineTimes({ blocks: 1, ms: 2.5 }, { blocks: 11, ms: 7.5 })
  expect(times).toEqual({ blockMs: 0.5, stepMs: 2 })
  expect(engineMs(times, 30)).toBe(17)
})

test('engineTimes() does not let noise make blocks or steps cost less than nothing', () => {
  expect([
    engineTimes({ blocks: 1, ms: 9 }, { blocks: 10, ms: 8 }),
    engineTimes({ blocks: 1, ms: 0.1 }, { blocks: 10, ms: 8 }),
    engineTimes({ blocks: 1, ms: 3 }, { blocks: 1, ms: 3 })
  ]).toEqual([
    { blockMs: 0.8, stepMs: 0 },
    { blockMs: 0.8, stepMs: 0 },
    { blockMs: 3, stepMs: 0 }
  ])
})
