import { expect, test } from 'bun:test'
import { seededRandom } from '../../../src/base/random.ts'
import { coverage, weakestStart } from '../../../src/server/placement/placement.ts'
import {
  checkPeriodMs,
  drainStep,
  intended,
  nextCheckMs,
  opensGap,
  placedOf,
  planMove,
  stillWorth,
  type PlacedServer
} from '../../../src/server/placement/rebalance.ts'
import { infoOf } from '../../swarm/world.ts'

function server(
  peer: string,
  start: number,
  end: number,
  more: Partial<PlacedServer> = {}
): PlacedServer {
  return { peer, start, end, throughput: 10 * (end - start), ...more }
}

/** Blocks 0:4 threefold, 4:8 once. */
const uneven = [server('a', 0, 4), server('b', 0, 4), server('c', 0, 4), server('d', 4, 8)]

function movers(servers: PlacedServer[], blockCount: number): string[] {
  return servers
    .filter((one) => planMove(one.peer, servers, blockCount).kind === 'move')
    .map((one) => one.peer)
}

test('planMove() sends one server where one is needed, the same for all who ask', () => {
  expect(movers(uneven, 8)).toEqual(['a'])
  expect(planMove('a', uneven, 8)).toEqual({
    kind: 'move',
    start: 4,
    end: 8,
    fromRate: 10,
    toRate: 20
  })
})

test('planMove() does not send another while the first is on its way', () => {
  const draining = { draining: true, next: { start: 4, end: 8 } }
  const loading = { start: 0, end: 0, throughput: 40, next: { start: 4, end: 8 } }
  const underWay = [draining, loading].map((more) => [
    server('a', 0, 4, more),
    ...uneven.filter((one) => one.peer !== 'a')
  ])
  expect(underWay.map((servers) => movers(servers, 8))).toEqual([[], []])
})

test('planMove() stays when the bottleneck grows by less than the factor', () => {
  const servers = [server('a', 0, 4), server('b', 4, 8, { throughput: 36 }), server('w', 0, 8)]
  expect(planMove('a', servers, 8)).toEqual({ kind: 'stay', why: 'balanced' })
})

test('planMove() never opens a gap to fill another', () => {
  const servers = [server('a', 0, 4), server('b', 4, 8)]
  expect(servers.map((one) => planMove(one.peer, servers, 12))).toEqual([
    { kind: 'stay', why: 'gap' },
    { kind: 'stay', why: 'gap' }
  ])
})

test('planMove() fills one of two gaps though the bottleneck stays 0', () => {
  const servers = [server('a', 0, 4), server('b', 0, 4)]
  expect(planMove('a', servers, 12)).toEqual({
    kind: 'move',
    start: 4,
    end: 8,
    fromRate: 0,
    toRate: 0
  })
})

test('planMove() applied in any order ends, gapless at every move and no worse than it began', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = seededRandom(seed)
    const servers = randomSwarm(random)
    const lows = [Math.min(...coverage(servers, 24))]
    let moves = 0
    for (let idle = 0; idle < 300; idle++) {
      const at = random.below(servers.length)
      const one = servers[at]
      const move = one && planMove(one.peer, servers, 24)
      if (!one || move?.kind !== 'move') continue
      const without = Math.min(...coverage(servers.toSpliced(at, 1), 24))
      servers[at] = { ...one, start: move.start, end: move.end }
      lows.push(Math.min(...coverage(servers, 24)))
      expect({ seed, without: without > 0 }).toEqual({ seed, without: true })
      idle = 0
      moves++
    }
    expect({ seed, ended: moves < 60 }).toEqual({ seed, ended: true })
    expect(lows.at(-1)).toBeGreaterThanOrEqual(lows[0] ?? 0)
  }
})

test('opensGap() lets one of two drain that leave a block to each other', () => {
  const servers = [server('a', 0, 4, { draining: true }), server('b', 0, 4, { draining: true })]
  expect(servers.map((one) => opensGap(one.peer, servers, 4))).toEqual([false, true])
})

test('intended() leaves out who leaves for good', () => {
  const servers = [
    server('a', 0, 4, { draining: true }),
    server('b', 0, 4, { draining: true, next: { start: 2, end: 6 } })
  ]
  expect(intended(servers).map(({ peer, start, end }) => [peer, start, end])).toEqual([['b', 2, 6]])
})

test('drainStep() leaves when heard and idle, when the time is up, and never into a gap', () => {
  const step = (sessions: number, sinceMs: number, gap = false): string =>
    drainStep({ sessions, sinceMs, opensGap: gap, worth: true, urgent: false })
  expect([step(0, 0), step(0, 15_000), step(2, 15_000), step(2, 120_000)]).toEqual([
    'wait',
    'leave',
    'wait',
    'leave'
  ])
  expect([step(0, 15_000, true), step(2, 120_000, true)]).toEqual(['stay', 'stay'])
})

test('checkPeriodMs() is shorter while a block has nobody and nobody is on the way', () => {
  const half = [server('a', 0, 4)]
  const coming = [...half, server('b', 0, 0, { throughput: 40, next: { start: 4, end: 8 } })]
  expect([uneven, half, coming].map((servers) => checkPeriodMs(servers, 8, 60_000))).toEqual([
    60_000, 12_000, 60_000
  ])
})

test('nextCheckMs() spreads checks over a period', () => {
  const times = [0, 0.5, 1].map((value) => nextCheckMs(1000, { next: () => value }))
  expect(times).toEqual([500, 1000, 1500])
})

test('weakestStart() finds the window that is first in order of its sorted rates', () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = seededRandom(seed)
    const rates = Float64Array.from({ length: 12 }, () => random.below(seed % 2 ? 3 : 1000))
    const size = 1 + random.below(12)
    const windows = Array.from({ length: 13 - size }, (_, first) =>
      [...rates.subarray(first, first + size)].sort((a, b) => a - b)
    )
    const key = (window: number[] | undefined): string =>
      (window ?? []).map((rate) => String(rate).padStart(4, '0')).join()
    const wanted = windows.map(key).sort()[0]
    expect({ seed, key: key(windows[weakestStart(rates, size)]) }).toEqual({
      seed,
      key: wanted ?? ''
    })
  }
})

function randomSwarm(random: { below(bound: number): number }): PlacedServer[] {
  const servers = [0, 8, 16].map((first) => server(`base${first}`, first, first + 8))
  for (let at = 0; at < 12; at++) {
    const length = 3 + random.below(8)
    const first = random.below(12)
    servers.push(server(`s${at}`, first, first + length, { throughput: 10 + random.below(200) }))
  }
  return servers
}

test('placedOf() sees a server that loads where it will be, and none that takes long', () => {
  const next = { start: 4, end: 8, inMs: 60_000, left: true }
  const info = infoOf(0, 4, { peer: new Uint8Array(32).fill(0xab), throughput: 40 })
  const peer = 'ab'.repeat(32)
  const loads = { peer, start: 0, end: 0, throughput: 40, draining: true }
  expect(placedOf({ ...info, draining: true, next })).toEqual({
    ...loads,
    next: { start: 4, end: 8 }
  })
  expect(placedOf({ ...info, draining: true, next: { ...next, inMs: 3_600_000 } })).toEqual(loads)
})

test('planMove() counts on no server that does not move', () => {
  const fixed = uneven.map((one) => (one.peer === 'a' ? { ...one, fixed: true } : one))
  expect(movers(fixed, 8)).toEqual(['b'])
  const unmoved = new Set(['a', 'b'])
  expect(planMove('c', uneven, 8, { unmoved }).kind).toBe('move')
  expect(planMove('b', uneven, 8)).toEqual({ kind: 'stay', why: 'others', movers: ['a'] })
})

test('stillWorth() says no to the second of two that go to one gap, yes to the first', () => {
  const to = { start: 4, end: 8 }
  const going = { draining: true, next: to }
  const servers = [server('a', 0, 4, going), server('b', 0, 4, going), server('c', 0, 4)]
  expect(['a', 'b'].map((peer) => stillWorth(peer, to, servers, 8))).toEqual([true, false])
  // The first one has gone: now it counts whoever it is.
  const gone = [server('z', 0, 0, { throughput: 40, next: to }), ...servers.slice(1)]
  expect(stillWorth('b', to, gone, 8)).toBe(false)
})

test('planMove() says the same in whichever order the records came', () => {
  const orders = [uneven, uneven.toReversed(), [...uneven.slice(1), ...uneven.slice(0, 1)]]
  expect(orders.map((servers) => movers(servers, 8))).toEqual([['a'], ['a'], ['a']])
})
