// bun scripts/simulate-routing.ts [--servers 200,2000] [--clients 30] [--seed 1] [--unknown-ms 300]
// Routing in simulated time: planRoute, routeMs, betterRoute and PeerBook of src/client beside Petals'
// published rule (petals-rules.ts) over the same servers, delays, queues and slow spells. Prints
// tokens a second, p99 of a token and moves, also in the sizes of the Petals paper's 3 and 14 servers.
import { parseArgs } from 'node:util'
import { toHex } from '../src/base/bytes.ts'
import { seededRandom, type Random } from '../src/base/random.ts'
import { PeerBook } from '../src/client/peers.ts'
import { betterRoute, moveMs, newHops, sameRoute } from '../src/client/replan.ts'
import { planRoute, routeMs, type RouteHop } from '../src/client/route.ts'
import { weakestStart } from '../src/server/placement.ts'
import type { ServerInfo } from '../src/wire/types.ts'
import { petalsRoute } from './petals-rules.ts'

interface Place {
  readonly x: number
  readonly y: number
  /** Of its own line, one way, ms. */
  readonly lineMs: number
}

interface Server {
  readonly peer: string
  readonly info: ServerInfo
  readonly place: Place
  readonly blockMs: number
  /** Every `everyMs` it is `times` slower for `forMs`: its owner plays a game. */
  readonly slow: { everyMs: number; forMs: number; phaseMs: number; times: number } | undefined
  freeAt: number
}

interface World {
  readonly blockCount: number
  readonly servers: readonly Server[]
  readonly byPeer: ReadonlyMap<string, Server>
  readonly clients: readonly { place: Place; pinged: readonly Server[]; startAt: number }[]
}

interface Totals {
  readonly tokenMs: number[]
  tokensASecond: number[]
  moves: number
  plans: number
  planMs: number
}

interface Event {
  readonly at: number
  readonly order: number
  readonly run: (now: number) => void
}

type RuleName = 'ours' | 'ours, no replan' | 'Petals'

const SESSIONS = 3
const REPLAN_MS = 5_000
/** A chunk of a prompt costs this share of as many decoded tokens. */
const PREFILL_SHARE = 0.2
const CHUNK_ROWS = 16

function rttMs(a: Place, b: Place): number {
  return 2 * (Math.hypot(a.x - b.x, a.y - b.y) + a.lineMs + b.lineMs)
}

function randomPlace(random: Random): Place {
  // A few regions of the world, up to 120 ms apart one way, and what is around them.
  const [x, y] = [random.below(3) * 45, random.below(2) * 35]
  const lineMs = 1 + 9 * random.next() ** 2
  return { x: x + 15 * random.next(), y: y + 15 * random.next(), lineMs }
}

interface Spec {
  readonly first: number
  readonly last: number
  readonly blockMs: number
  readonly place: Place
  readonly slows: boolean
}

function makeWorld(
  specs: readonly Spec[],
  blockCount: number,
  options: { clients: number; clientPlace?: Place; random: Random }
): World {
  const { random } = options
  const keys = specs.map(() => Uint8Array.from({ length: 32 }, () => random.below(256)))
  const servers = specs.map((spec, index): Server => {
    const likely = specs.flatMap((one, at) =>
      one.first <= spec.last && one.last > spec.last && at !== index ? [at] : []
    )
    // Five successors by chance, as Petals' servers publish.
    const pings = Array.from({ length: Math.min(5, likely.length) }, () => {
      const at = likely[random.below(likely.length)] ?? 0
      const place = specs[at]?.place ?? spec.place
      return { peer: keys[at] ?? new Uint8Array(32), ms: rttMs(spec.place, place) }
    })
    const peer = keys[index] ?? new Uint8Array(32)
    const slow = spec.slows && random.next() < 0.2
    return {
      peer: toHex(peer),
      place: spec.place,
      blockMs: spec.blockMs,
      slow: slow
        ? { everyMs: 120_000, forMs: 40_000, phaseMs: 120_000 * random.next(), times: 4 }
        : undefined,
      freeAt: 0,
      info: {
        peer,
        model: new Uint8Array(32),
        modelName: 'simulated',
        blockCount,
        hiddenSize: 8192,
        first: spec.first,
        last: spec.last,
        quant: 'int8',
        throughput: (1000 / spec.blockMs) * (0.9 + 0.2 * random.next()),
        prefillThroughput: 0,
        maxTokens: 1 << 20,
        freeTokens: 1 << 20,
        version: '0',
        draining: false,
        issuedAt: 0,
        expiresAt: Infinity,
        pings
      }
    }
  })
  const clients = Array.from({ length: options.clients }, () => {
    const ends = (block: number): Server[] => {
      const all = servers.filter(({ info }) => info.first <= block && info.last > block)
      return [0, 1, 2].flatMap(() => all[random.below(all.length)] ?? [])
    }
    return {
      place: options.clientPlace ?? randomPlace(random),
      pinged: [...ends(0), ...ends(blockCount - 1)],
      startAt: 5_000 * random.next()
    }
  })
  return { blockCount, servers, byPeer: new Map(servers.map((one) => [one.peer, one])), clients }
}

function simulate(world: World, rule: RuleName, tokens: number, unknownMs: number): Totals {
  for (const server of world.servers) server.freeAt = 0
  const totals: Totals = { tokenMs: [], tokensASecond: [], moves: 0, plans: 0, planMs: 0 }
  const events = new Heap()
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
    const begin = (now: number): void => {
      route = plan()
      ;[token, sessionMoves, movedAt, plannedAt, startedAt] = [0, 0, now, now, now]
      // Opening a session shows the round trip to each of its servers.
      for (const hop of route) {
        const server = world.byPeer.get(hop.peer)
        if (server) book.noteRtt(hop.peer, rttMs(client.place, server.place))
      }
      step(now)
    }
    const replan = (now: number): readonly RouteHop[] => {
      plannedAt = now
      const planned = plan()
      if (sameRoute(route, planned)) return []
      const all = candidates()
      const current = { hops: route, expectedMs: routeMs(route, all) ?? Infinity }
      const better = { hops: planned, expectedMs: routeMs(planned, all) ?? Infinity }
      const cost = moveMs(route, planned, all, {
        historyTokens: token,
        prefillShare: PREFILL_SHARE
      })
      const options = { moveMs: cost, tokensLeft: tokens - token, moves: sessionMoves }
      if (!betterRoute(current, better, { ...options, sinceMoveMs: now - movedAt })) return []
      const opened = newHops(route, planned)
      route = planned
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
      const blocks = opened[0].last - opened[0].first
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
        const blocks = here.last - here.first
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

function slowness({ slow }: Server, now: number): number {
  if (!slow) return 1
  return (now + slow.phaseMs) % slow.everyMs < slow.forMs ? slow.times : 1
}

const NEVER: Event = { at: Infinity, order: 0, run: () => {} }

/** Events in order of their time, then of their making. */
class Heap {
  readonly #events: Event[] = []
  #made = 0

  push(at: number, run: (now: number) => void): void {
    const event = { at, order: this.#made++, run }
    const all = this.#events
    let index = all.push(event) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!sooner(event, this.#at(parent))) break
      all[index] = this.#at(parent)
      index = parent
    }
    all[index] = event
  }

  run(): void {
    for (let next = this.#pop(); next; next = this.#pop()) next.run(next.at)
  }

  #at(index: number): Event {
    return this.#events[index] ?? NEVER
  }

  #pop(): Event | undefined {
    const all = this.#events
    const top = all[0]
    const end = all.pop()
    if (!end || all.length === 0) return top
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= all.length) break
      if (child + 1 < all.length && sooner(this.#at(child + 1), this.#at(child))) child++
      if (!sooner(this.#at(child), end)) break
      all[index] = this.#at(child)
      index = child
    }
    all[index] = end
    return top
  }
}

function sooner(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

/** A swarm placed by our rule, of machines of many speeds. */
function randomSpecs(count: number, blockCount: number, random: Random): Spec[] {
  const rates = new Float64Array(blockCount)
  return Array.from({ length: count }, () => {
    const size = 4 + Math.floor(20 * random.next() ** 2)
    const blockMs = 1.5 * 6 ** random.next()
    const first = weakestStart(rates, size)
    for (let block = first; block < first + size; block++) {
      rates[block] = (rates[block] ?? 0) + 1 / blockMs / size
    }
    return { first, last: first + size, blockMs, place: randomPlace(random), slows: true }
  })
}

/** BLOOM's 70 blocks on three equal servers at one distance, as in the paper; 8.2 ms a block. */
function threeSpecs(oneWayMs: number): Spec[] {
  const cuts = [0, 24, 47, 70]
  return [0, 1, 2].map((at) => ({
    first: cuts[at] ?? 0,
    last: cuts[at + 1] ?? 70,
    blockMs: 8.2,
    place: { x: 0, y: 0, lineMs: oneWayMs / 2 },
    slows: false
  }))
}

/** The paper's kinds of 14 GPUs; blocks by memory and times by memory bandwidth are our estimate. */
function fourteenSpecs(random: Random): Spec[] {
  const kinds = [
    { count: 2, blocks: 3, blockMs: 8 },
    { count: 4, blocks: 3, blockMs: 5 },
    { count: 2, blocks: 8, blockMs: 3.6 },
    { count: 2, blocks: 5, blockMs: 6.5 },
    { count: 4, blocks: 8, blockMs: 4.2 }
  ]
  const rates = new Float64Array(70)
  return kinds
    .flatMap((kind) => Array.from({ length: kind.count }, () => kind))
    .sort((a, b) => b.blocks - a.blocks)
    .map(({ blocks, blockMs }) => {
      const first = weakestStart(rates, blocks)
      for (let block = first; block < first + blocks; block++)
        rates[block] = (rates[block] ?? 0) + 1
      return { first, last: first + blocks, blockMs, place: randomPlace(random), slows: false }
    })
}

function report(name: string, world: World, tokens: number, unknownMs: number): void {
  for (const rule of ['ours', 'ours, no replan', 'Petals'] as const) {
    const totals = simulate(world, rule, tokens, unknownMs)
    const sorted = totals.tokenMs.toSorted((a, b) => a - b)
    const p99 = sorted[Math.floor(sorted.length * 0.99)] ?? 0
    const rates = totals.tokensASecond.toSorted((a, b) => a - b)
    const mean = rates.reduce((sum, one) => sum + one, 0) / rates.length
    const columns = [
      name.padEnd(28),
      rule.padEnd(15),
      mean.toFixed(2).padStart(8),
      (rates[Math.floor(rates.length / 20)] ?? 0).toFixed(2).padStart(9),
      p99.toFixed(0).padStart(7),
      ((100 * totals.moves) / totals.tokensASecond.length).toFixed(0).padStart(9),
      (totals.planMs / totals.plans).toFixed(1).padStart(7)
    ]
    console.log(columns.join('  '))
  }
}

const { values } = parseArgs({
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
  'setting                       rule            tokens/s  slow 5 %  p99 ms  moves/100  plan ms'
)
const beside = { x: 0, y: 0, lineMs: 0 }
for (const [distance, count] of [
  [2.5, 1],
  [50, 1],
  [50, 8]
] as const) {
  const options = { clients: count, clientPlace: beside, random: seededRandom(seed) }
  const world = makeWorld(threeSpecs(distance), 70, options)
  report(
    `3 servers, RTT ${2 * distance} ms, ${count} client${count > 1 ? 's' : ''}`,
    world,
    tokens,
    unknownMs
  )
}
for (const count of [1, 8]) {
  const random = seededRandom(seed)
  const world = makeWorld(fourteenSpecs(random), 70, { clients: count, random })
  report(`14 servers, ${count} client${count > 1 ? 's' : ''}`, world, tokens, unknownMs)
}
for (const count of values.servers.split(',').map(Number).filter(Boolean)) {
  const random = seededRandom(seed)
  const world = makeWorld(randomSpecs(count, blockCount, random), blockCount, { clients, random })
  report(`${count} servers, ${clients} clients`, world, tokens, unknownMs)
}
