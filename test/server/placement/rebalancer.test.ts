// When a server moves, by a clock that stands still: what is said and done in which order, and what
// makes it stay after all.
import { expect, test } from 'bun:test'
import { unavailable } from '../../../src/base/errors.ts'
import { silentLog } from '../../../src/base/log.ts'
import { seededRandom } from '../../../src/base/random.ts'
import { SwarmMonitor } from '../../../src/server/placement/swarm-monitor.ts'
import { Rebalancer, type RebalancerOptions } from '../../../src/server/placement/rebalancer.ts'
import { likelySuccessors } from '../../../src/server/placement/successors.ts'
import type { ServerInfo } from '../../../src/wire/types.ts'
import { FakeClock, settle } from '../../support/fakes/fake-clock.ts'
import { infoOf } from '../../swarm/world.ts'

const keyOf = (number: number): Uint8Array => new Uint8Array(32).fill(number)

function info(key: number, start: number, end: number, more: Partial<ServerInfo> = {}): ServerInfo {
  return infoOf(start, end, { peer: keyOf(key), blockCount: 8, throughput: 100, ...more })
}

/** Blocks 0:4 of servers 5 and 6, 4:8 of nobody. */
const TWIN = info(6, 0, 4)

interface Scene {
  readonly clock: FakeClock
  readonly done: string[]
  others: readonly ServerInfo[]
  /** Those who answer when asked; undefined: all. */
  living: readonly ServerInfo[] | undefined
  sessions: number
  changing: () => Promise<void>
  readonly check: () => Promise<boolean>
}

function scene(more: Partial<RebalancerOptions> = {}): Scene {
  const clock = new FakeClock()
  const done: string[] = []
  const rebalancer = new Rebalancer({
    info: () => info(5, 0, 4),
    sessions: () => it.sessions,
    find: async () => it.others,
    ask: async (servers) => it.living ?? servers,
    fits: () => true,
    fetch: async ({ start, end }) => void done.push(`fetch ${start}:${end}`),
    say: (next) => done.push(next ? `go to ${next.start}:${next.end}` : 'stay'),
    change: async ({ start, end }) => {
      await it.changing()
      done.push(`change to ${start}:${end}`)
    },
    placement: { spreadMs: 10_000, drainMs: 60_000, stepMs: 1000 },
    clock,
    log: silentLog,
    ...more
  })
  const it: Scene = {
    clock,
    done,
    others: [TWIN],
    living: undefined,
    sessions: 0,
    changing: async () => {},
    check: () => rebalancer.check(it.others, new AbortController().signal)
  }
  return it
}

test('a move fetches first, says so, waits until it is heard, and changes', async () => {
  const it = scene()
  const moved = it.check()
  await it.clock.advance(9000)
  expect(it.done).toEqual(['fetch 4:8', 'go to 4:8'])
  await it.clock.advance(1000)
  expect(it.done.slice(2)).toEqual(['change to 4:8'])
  expect(await moved).toBe(true)
})

/** Blocks 4:8 have one slow server: worth a move, and no gap. */
const SLOW = info(8, 4, 8, { throughput: 10, fixed: true })

test('a move waits for sessions, but not for ever', async () => {
  for (const [endAt, changedAt] of [
    [30_000, 30_000],
    [Infinity, 60_000]
  ] as const) {
    const it = scene()
    it.others = [TWIN, SLOW]
    it.sessions = 1
    void it.check()
    for (let now = 0; now < changedAt - 1000; now += 1000) await it.clock.advance(1000)
    if (endAt === changedAt) it.sessions = 0
    expect(it.done.length).toBe(2)
    await it.clock.advance(1000)
    expect(it.done.at(-1)).toBe('change to 4:8')
  }
})

test('a move into a gap waits for no session', async () => {
  const it = scene()
  it.sessions = 1
  void it.check()
  await it.clock.advance(10_000)
  expect(it.done.at(-1)).toBe('change to 4:8')
})

test('a move is given up when the server has become the only one with its blocks', async () => {
  const it = scene()
  const moved = it.check()
  await it.clock.advance(5000)
  it.others = []
  await it.clock.advance(1000)
  expect(it.done.slice(1)).toEqual(['go to 4:8', 'stay'])
  expect(await moved).toBe(false)
})

test('a move is given up when the other server has a record but does not answer', async () => {
  const it = scene()
  it.living = []
  const moved = it.check()
  await it.clock.advance(20_000)
  expect(it.done.slice(1)).toEqual(['go to 4:8', 'stay'])
  expect(await moved).toBe(false)
})

test('of two servers that go to the same blocks the one with the lower key does', async () => {
  const going = { draining: true, next: { start: 4, end: 8, inMs: 9000, left: false } }
  const third = info(9, 0, 4)
  for (const [key, last] of [
    [4, 'stay'],
    [7, 'change to 4:8']
  ] as const) {
    const it = scene()
    it.others = [third]
    void it.check()
    await it.clock.advance(1500)
    it.others = [third, info(key, 0, 4, going)]
    await it.clock.advance(20_000)
    expect({ key, last: it.done.at(-1) }).toEqual({ key, last })
  }
})

test('a move that failed is not tried again for half an hour', async () => {
  const it = scene()
  it.changing = async () => {
    throw unavailable('The weights are damaged')
  }
  const moved = it.check()
  await it.clock.advance(20_000)
  expect(await moved).toBe(false)
  it.done.length = 0
  await it.clock.advance(1_700_000)
  expect(await it.check()).toBe(false)
  expect(it.done).toEqual([])
  await it.clock.advance(100_000)
  void it.check()
  await settle()
  expect(it.done).toEqual(['fetch 4:8', 'go to 4:8'])
})

test('a server that there is no room for elsewhere says nothing and stays', async () => {
  const it = scene({ fits: () => false })
  expect(await it.check()).toBe(false)
  expect(it.done).toEqual([])
})

test('who should move at every check and never does is not waited for', async () => {
  const it = scene()
  // Its lower key makes it the one that should go.
  it.others = [info(4, 0, 4)]
  expect([await it.check(), await it.check()]).toEqual([false, false])
  void it.check()
  await settle()
  expect(it.done).toEqual(['fetch 4:8', 'go to 4:8'])
})

test('likelySuccessors() takes the nearest that go on where blocks end, and leaves room for new ones', () => {
  const servers = Array.from({ length: 40 }, (_, at) => ({
    peer: `p${at}`,
    start: at % 4 === 0 ? 0 : 4,
    end: at % 4 === 0 ? 4 : 8,
    draining: at === 1
  }))
  const known = new Map(servers.slice(0, 20).map(({ peer }, at) => [peer, 20 - at]))
  const chosen = likelySuccessors(servers, 4, known, seededRandom(1))
  expect(chosen.slice(0, 5)).toEqual(['p19', 'p18', 'p17', 'p15', 'p14'])
  expect(chosen.length).toBe(8)
  expect(chosen.slice(5).every((peer) => Number(peer.slice(1)) >= 20)).toBe(true)
  expect(likelySuccessors(servers, 8, known, seededRandom(1))).toEqual([])
})

test('a monitor tells round trips when they change clearly, nearest first, and drops who is silent', async () => {
  const clock = new FakeClock()
  const told: string[] = []
  let looks = 0
  let silent = 0
  const trips = new Map([
    [1, 40],
    [2, 10]
  ])
  const monitor = new SwarmMonitor({
    find: async () => [info(1, 4, 8), info(2, 4, 8), info(3, 0, 4)],
    ask: async (servers) => servers,
    ping: async ([key = 0]) => {
      if (key === silent) throw unavailable('no answer')
      return trips.get(key) ?? 0
    },
    end: () => 4,
    onpings: (pings) =>
      told.push(pings.map(({ peer, ms }) => `${peer[0]}: ${Math.round(ms)}`).join(', ')),
    onlook: async () => void looks++,
    periodMs: () => 1000,
    clock,
    random: seededRandom(1),
    log: silentLog
  })
  monitor.start()
  await clock.advance(10_000)
  expect(told).toEqual(['2: 10, 1: 40'])
  trips.set(2, 12)
  await clock.advance(10_000)
  expect(told.length).toBe(1)
  silent = 1
  await clock.advance(2000)
  expect(told.slice(1)).toEqual(['2: 12'])
  expect(looks).toBeGreaterThan(10)
  monitor.close()
  expect(clock.pending).toBe(0)
})

test('a monitor looks soon when a server is gone, and believes its record no more', async () => {
  const clock = new FakeClock()
  const views: string[][] = []
  const dead = new Set<number>()
  const monitor = new SwarmMonitor({
    find: async () => [info(1, 4, 8), info(2, 4, 8)],
    ask: async (servers) => servers.filter(({ peer }) => !dead.has(peer[0] ?? 0)),
    ping: async () => 1,
    end: () => 8,
    onpings: () => {},
    onlook: async (servers) => void views.push(servers.map(({ peer }) => String(peer[0]))),
    periodMs: () => 60_000,
    clock,
    random: seededRandom(1),
    log: silentLog
  })
  monitor.start()
  await clock.advance(300_000)
  const before = views.length
  dead.add(1)
  // Whom it never saw is nothing to it.
  monitor.gone('ff'.repeat(32))
  monitor.gone('01'.repeat(32))
  monitor.gone('02'.repeat(32))
  await clock.advance(15_000)
  expect(views.slice(before)).toEqual([['2']])
  dead.delete(1)
  await clock.advance(90_000)
  expect(views.at(-1)).toEqual(['1', '2'])
  monitor.close()
})
