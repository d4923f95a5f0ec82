// bun scripts/simulate/simulate-routing.ts [--servers 200,2000] [--clients 30] [--seed 1]
//   [--unknown-ms 300]
// Routing in simulated time: what a session calls (planRoute, chooseRoute, worthMeasuring, PeerBook
// of src/client) beside Petals' published rule (petals-rules.ts) over the same servers, delays,
// queues and slow spells. Prints tokens a second, p99 of a token, moves of a session and their
// ratio to Petals', also in the Petals paper's settings of 3 and 14 servers, beside what the paper
// measured there.
import { scriptArguments } from '../arguments.ts'
import { seededRandom } from '../../src/base/random.ts'
import { PeerBook } from '../../src/client/route/peers.ts'
import { chooseRoute, newHops, worthMeasuring } from '../../src/client/route/replan.ts'
import { planRoute, type RouteHop } from '../../src/client/route/route.ts'
import { EventHeap } from './event-heap.ts'
import { petalsRoute } from './petals-rules.ts'
import {
  fourteenSpecs,
  makeWorld,
  randomSpecs,
  rttMs,
  slowness,
  threeSpecs,
  type World
} from './routing-worlds.ts'

interface Totals {
  readonly tokenMs: number[]
  tokensASecond: number[]
  moves: number
  plans: number
  planMs: number
}

type RuleName = 'ours' | 'ours, no replan' | 'Petals'

const SESSIONS = 3
const REPLAN_MS = 5_000
/** Unmeasured servers that are tried in one look, as the route optimizer does. */
const PROBES = 3
/** A chunk of a prompt costs this share of as many decoded tokens. */
const PREFILL_SHARE = 0.2
const CHUNK_ROWS = 16

function simulate(world: World, rule: RuleName, tokens: number, unknownMs: number): Totals {
  for (const server of world.servers) server.freeAt = 0
  const totals: Totals = { tokenMs: [], tokensASecond: [], moves: 0, plans: 0, planMs: 0 }
  const events = new EventHeap()
  const jitter = seededRandom(99)
  for (const client of world.clients) {
    const book = new PeerBook({ unknownRttMs: unknownMs })
    const pinged = new Map(client.pinged.map((one) => [one.peer, rttMs(client.place, one.place)]))
    for (const [peer, ms] of pinged) book.noteRtt(peer, ms)
    const candidates = () => world.servers.map(({ info }) => book.candidate(info))
    const plan = (): RouteHop[] => {
      const started = performance.now()
      const hops =
        rule === 'Petals'
          ? petalsRoute(
              world.servers.map(({ peer, info }) => ({
                ...book.candidate(info),
                blockMs: 1000 / info.throughput,
                rttMs: pinged.get(peer)
              })),
              world.blockCount
            )
          : [...planRoute(candidates(), 0, world.blockCount).hops]
      totals.planMs += performance.now() - started
      totals.plans++
      return hops
    }
    let [session, token, sessionMoves, movedAt, plannedAt, startedAt] = [0, 0, 0, 0, 0, 0]
    let route: RouteHop[] = []
    const measure = (peer: string): void => {
      const server = world.byPeer.get(peer)
      if (server) book.noteRtt(peer, rttMs(client.place, server.place))
    }
    const begin = (now: number): void => {
      route = plan()
      ;[token, sessionMoves, movedAt, plannedAt, startedAt] = [0, 0, now, now, now]
      // Opening a session shows the round trip to each of its servers.
      for (const hop of route) measure(hop.peer)
      step(now)
    }
    const replan = (now: number): readonly RouteHop[] => {
      plannedAt = now
      totals.plans++
      const began = performance.now()
      const session = {
        hops: route,
        historyTokens: token,
        tokensLeft: tokens - token,
        maxTokens: 0,
        blockCount: world.blockCount
      }
      // The optimizer measures a few that might be better, and what it would move to.
      const known = (peer: string): boolean => book.rttMs(peer) !== undefined
      for (const peer of worthMeasuring(session, candidates(), known).slice(0, PROBES))
        measure(peer)
      const options = {
        prefillShare: PREFILL_SHARE,
        moves: sessionMoves,
        sinceMoveMs: now - movedAt
      }
      for (const hop of newHops(route, chooseRoute(session, candidates(), options) ?? [])) {
        measure(hop.peer)
      }
      const planned = chooseRoute(session, candidates(), options)
      totals.planMs += performance.now() - began
      if (!planned) return []
      const opened = newHops(route, planned)
      route = [...planned]
      movedAt = now
      sessionMoves++
      totals.moves++
      return opened
    }
    const step = (now: number): void => {
      const opened = rule === 'ours' && now - plannedAt >= REPLAN_MS ? replan(now) : []
      replay(now, opened, token, now)
    }
    /** Runs the history through the new hops, chunk by chunk between the steps of others. */
    const replay = (
      sentAt: number,
      opened: readonly RouteHop[],
      rows: number,
      startAt: number
    ): void => {
      const server = world.byPeer.get(opened[0]?.peer ?? '')
      if (!server || !opened[0]) {
        hop(sentAt, 0, startAt)
        return
      }
      const blocks = opened[0].end - opened[0].start
      const trip = rows === token ? rttMs(client.place, server.place) : 0
      if (trip > 0) book.noteRtt(server.peer, trip)
      events.push(sentAt + trip, (now) => {
        const chunk = Math.min(rows, CHUNK_ROWS)
        const start = Math.max(now, server.freeAt)
        const rate = server.blockMs * slowness(server, start) * PREFILL_SHARE
        server.freeAt = start + chunk * blocks * rate
        const done = rows - chunk <= 0
        replay(server.freeAt, done ? opened.slice(1) : opened, done ? token : rows - chunk, startAt)
      })
    }
    const hop = (sentAt: number, index: number, startAt: number): void => {
      const here = route[index]
      const before = world.byPeer.get(route[index - 1]?.peer ?? '')
      const server = world.byPeer.get(here?.peer ?? '')
      const trip = rttMs(before?.place ?? client.place, server?.place ?? client.place) / 2
      const arrival = sentAt + trip * (1 + 0.1 * jitter.next())
      events.push(arrival, (now) => {
        if (!here || !server) {
          finish(now, startAt)
          return
        }
        const start = Math.max(now, server.freeAt)
        const blocks = here.end - here.start
        const computeMs = blocks * server.blockMs * slowness(server, start)
        server.freeAt = start + computeMs
        book.noteStep(server.peer, blocks, {
          queue: 0,
          freeTokens: 1 << 20,
          computeMs,
          queueMs: start - now
        })
        hop(server.freeAt, index + 1, startAt)
      })
    }
    const finish = (now: number, startAt: number): void => {
      totals.tokenMs.push(now - startAt)
      token++
      if (token < tokens) {
        step(now)
        return
      }
      totals.tokensASecond.push((1000 * tokens) / (now - startedAt))
      session++
      if (session < SESSIONS) begin(now)
    }
    events.push(client.startAt, begin)
  }
  events.run()
  return totals
}

interface Setting {
  readonly name: string
  readonly world: World
  readonly tokens: number
  readonly unknownMs: number
  /** Tokens a second that the paper measured for one client, where it did. */
  readonly paper?: number
}

function report({ name, world, tokens, unknownMs, paper }: Setting): void {
  const results = (['Petals', 'ours, no replan', 'ours'] as const).map((rule) => {
    const totals = simulate(world, rule, tokens, unknownMs)
    const sorted = totals.tokenMs.toSorted((a, b) => a - b)
    const rates = totals.tokensASecond.toSorted((a, b) => a - b)
    return {
      rule,
      rate: rates.reduce((sum, one) => sum + one, 0) / rates.length,
      slow: rates[Math.floor(rates.length / 20)] ?? 0,
      p99: sorted[Math.floor(sorted.length * 0.99)] ?? 0,
      moves: totals.moves / totals.tokensASecond.length,
      planMs: totals.planMs / totals.plans
    }
  })
  const [petals] = results
  for (const one of results) {
    const columns = [
      name.padEnd(32),
      one.rule.padEnd(15),
      one.rate.toFixed(2).padStart(8),
      (one.rate / (petals?.rate ?? NaN)).toFixed(2).padStart(9),
      one.slow.toFixed(2).padStart(8),
      (one.slow / (petals?.slow ?? NaN)).toFixed(2).padStart(9),
      one.p99.toFixed(0).padStart(7),
      one.moves.toFixed(2).padStart(14),
      one.planMs.toFixed(1).padStart(7),
      (one.rule === 'Petals' && paper !== undefined ? paper.toFixed(2) : '').padStart(5)
    ]
    console.log(columns.join('  ').trimEnd())
  }
}

const { values } = scriptArguments(import.meta.path, {
  options: {
    servers: { type: 'string', default: '200,2000' },
    blocks: { type: 'string', default: '80' },
    clients: { type: 'string', default: '30' },
    tokens: { type: 'string', default: '150' },
    seed: { type: 'string', default: '1' },
    'unknown-ms': { type: 'string', default: '300' }
  }
})
const [clients, tokens, seed, unknownMs, blockCount] = [
  Number(values.clients),
  Number(values.tokens),
  Number(values.seed),
  Number(values['unknown-ms']),
  Number(values.blocks)
]
console.log(
  'setting                           rule             tokens/s  to Petals  slow 5 %  to Petals' +
    '  p99 ms  moves/session  plan ms  paper'
)
const beside = { x: 0, y: 0, lineMs: 0 }
// BLOOM-176B on three A100 in one room with a delay added; on 14 consumer machines of two
// continents.
for (const [distance, count, paper] of [
  [2.5, 1, 1.71],
  [50, 1, 1.23],
  [50, 8, undefined]
] as const) {
  const options = { clients: count, clientPlace: beside, random: seededRandom(seed) }
  const world = makeWorld(threeSpecs(distance), 70, options)
  const name = `3 servers, RTT ${2 * distance} ms, ${count} client${count > 1 ? 's' : ''}`
  report({ name, world, tokens, unknownMs, ...(paper === undefined ? {} : { paper }) })
}
for (const [count, paper] of [
  [1, 0.83],
  [8, undefined]
] as const) {
  const random = seededRandom(seed)
  const world = makeWorld(fourteenSpecs(random), 70, { clients: count, random })
  const name = `14 servers, ${count} client${count > 1 ? 's' : ''}`
  report({ name, world, tokens, unknownMs, ...(paper === undefined ? {} : { paper }) })
}
for (const count of values.servers.split(',').map(Number).filter(Boolean)) {
  const random = seededRandom(seed)
  const world = makeWorld(randomSpecs(count, blockCount, random), blockCount, { clients, random })
  report({ name: `${count} servers, ${clients} clients`, world, tokens, unknownMs })
}
