// bun scripts/simulate/simulate-placement.ts [--servers 100,1000] [--hours 2] [--seed 1]
//   [--factor 1.2] [--check-s 60]
// Placement under churn, in simulated time: the very functions of src/server (weakestStart,
// planMove, opensGap, stillWorth, drainStep, nextCheckMs) beside Petals' published rule
// (petals-rules.ts) on the same joins, departures and speeds, up to --petals-most servers (100):
// each of its checks plays the whole swarm. Prints coverage, bottleneck against the optimum, and
// moves an hour.
import { scriptArguments } from '../arguments.ts'
import { seededRandom, type Random } from '../../src/base/random.ts'
import { coverage, weakestStart } from '../../src/server/placement/placement.ts'
import {
  checkPeriodMs,
  drainStep,
  intended,
  nextCheckMs,
  opensGap,
  planMove,
  stillWorth,
  type PlacedServer
} from '../../src/server/placement/rebalance.ts'
import { petalsShouldMove, petalsStart } from './petals-rules.ts'

interface Rule {
  readonly name: string
  /** Where a joining server begins. */
  join(spans: readonly PlacedServer[], length: number): number
  /** Where a server should begin instead; undefined to stay. */
  check(self: PlacedServer, spans: readonly PlacedServer[], random: Random): Target | undefined
  /** Time to its next check, ms. */
  next(random: Random, spans: readonly PlacedServer[]): number
  /** What to do with a decided move. */
  drain(self: PlacedServer, spans: readonly PlacedServer[], state: Draining, now: number): Step
}

interface Target {
  readonly start: number
  /** Nobody is there. */
  readonly urgent: boolean
}

type Step = 'wait' | 'leave' | 'stay'

interface Draining {
  readonly since: number
  /** When its last session ends by itself. */
  readonly idleAt: number
  readonly urgent: boolean
}

interface Machine {
  readonly peer: string
  readonly length: number
  readonly throughput: number
  record: PlacedServer
  phase: 'loading' | 'serving' | 'draining' | 'gone'
  until: number
  draining: Draining | undefined
}

interface Report {
  covered: number
  share: number
  worst: number
  movesAnHour: number
  gapsByMoves: number
  checkMs: number
  checks: number
}

const TICK_MS = 5_000
/** How old the records are on which everyone decides. */
const SPREAD_MS = 10_000
/** A server that crashed is believed to be there until its record ends. */
const EXPIRY_MS = 60_000
const PETALS_CHECK_MS = 120_000
const HOUR_MS = 3_600_000

function ours(blockCount: number, factor: number, periodMs: number): Rule {
  // Thousands decide on one view at the same moment: what does not depend on who asks is computed
  // once.
  const balanced = new WeakSet<readonly PlacedServer[]>()
  const periods = new WeakMap<readonly PlacedServer[], number>()
  return {
    name: 'ours',
    join: (spans, length) => weakestStart(coverage(intended(spans), blockCount), length),
    check: (self, spans) => {
      if (balanced.has(spans)) return undefined
      const move = planMove(self.peer, spans, blockCount, { factor })
      if (move.kind === 'stay' && move.why === 'balanced') balanced.add(spans)
      return move.kind === 'move' ? { start: move.start, urgent: move.fromRate <= 0 } : undefined
    },
    next: (random, spans) => {
      const meanMs = periods.get(spans) ?? checkPeriodMs(spans, blockCount, periodMs)
      periods.set(spans, meanMs)
      return nextCheckMs(meanMs, random)
    },
    drain: (self, spans, { since, idleAt, urgent }, now) =>
      drainStep(
        {
          sessions: now < idleAt ? 1 : 0,
          sinceMs: now - since,
          opensGap: opensGap(self.peer, spans, blockCount),
          urgent,
          worth: stillWorth(self.peer, self.next ?? self, spans, blockCount)
        },
        { spreadMs: SPREAD_MS + TICK_MS }
      )
  }
}

function joinsOnly(blockCount: number): Rule {
  return { ...ours(blockCount, 1, HOUR_MS), name: 'joins only', check: () => undefined }
}

/** Petals stops serving at once when it moves; a server that loads counts as one that serves. */
function petals(blockCount: number): Rule {
  const seen = (spans: readonly PlacedServer[]): PlacedServer[] => intended(spans)
  return {
    name: 'Petals',
    join: (spans, length) => petalsStart(seen(spans), blockCount, length),
    check: (self, spans, random) => {
      const start = petalsShouldMove(self.peer, seen(spans), blockCount, random)
      return start === undefined ? undefined : { start, urgent: false }
    },
    next: (random) => 2 * PETALS_CHECK_MS * random.next(),
    drain: () => 'leave'
  }
}

function run(rule: Rule, servers: number, blockCount: number, hours: number, seed: number): Report {
  // Churn and decisions use two random streams, so that both rules meet the same machines.
  const churn = seededRandom(seed)
  const random = seededRandom(seed + 1000)
  const machines = new Set<Machine>()
  const ghosts: { record: PlacedServer; until: number }[] = []
  const views: { at: number; records: PlacedServer[] }[] = []
  const checks = new Map<Machine, number>()
  const lifeMs = 4 * HOUR_MS
  const gap = { shares: [] as number[], covered: 0, samples: 0, byMoves: 0 }
  let [moves, checkMs, checkCount, born, steadyMs] = [0, 0, 0, 0, 0]
  let wasCovered = false
  const view = (now: number): PlacedServer[] => {
    while (views.length > 1 && (views[1]?.at ?? Infinity) <= now - SPREAD_MS) views.shift()
    return views[0]?.records ?? []
  }
  const join = (now: number): void => {
    const length = Math.min(blockCount, 3 + Math.floor(18 * churn.next() ** 2))
    const speed = 50 * 8 ** churn.next()
    const loadMs = 30_000 + 60_000 * churn.next()
    const peer = String(born++).padStart(6, '0')
    const spans = now === 0 ? [...machines].map((one) => one.record) : view(now)
    const start = rule.join(spans, length)
    const next = { start, end: start + length }
    const record = { peer, throughput: speed, start: 0, end: 0, next }
    const machine: Machine = {
      peer,
      length,
      throughput: speed,
      record,
      phase: 'loading',
      until: now + loadMs,
      draining: undefined
    }
    machines.add(machine)
    checks.set(machine, now + loadMs + rule.next(random, spans))
  }
  for (let at = 0; at < servers; at++) join(0)
  for (let now = 0; now <= hours * HOUR_MS; now += TICK_MS) {
    let movedNow = false
    for (let change = (servers * TICK_MS) / lifeMs; change > churn.next(); change--) {
      const all = [...machines]
      const gone = all[churn.below(all.length)]
      if (!gone || now === 0) break
      const crashes = churn.next() < 0.5
      machines.delete(gone)
      if (crashes) ghosts.push({ record: gone.record, until: now + EXPIRY_MS })
      join(now)
    }
    const spans = view(now)
    for (const machine of machines) {
      const { record } = machine
      if (machine.phase === 'loading' && now >= machine.until && record.next) {
        const { start, end } = record.next
        machine.record = { peer: record.peer, throughput: record.throughput, start, end }
        machine.phase = 'serving'
      } else if (machine.phase === 'draining' && machine.draining && record.next) {
        const step = rule.drain(record, withSelf(spans, record), machine.draining, now)
        if (step === 'wait') continue
        const { peer, throughput, start, end, next } = record
        machine.phase = step === 'leave' ? 'loading' : 'serving'
        machine.until = now + 60_000
        machine.record =
          step === 'leave'
            ? { peer, throughput, start: 0, end: 0, next }
            : { peer, throughput, start, end }
        if (step !== 'leave') continue
        moves++
        movedNow = true
      } else if (machine.phase === 'serving' && now >= (checks.get(machine) ?? 0)) {
        checks.set(machine, now + rule.next(random, spans))
        const started = performance.now()
        const target = rule.check(record, withSelf(spans, record), random)
        checkMs += performance.now() - started
        checkCount++
        if (!target) continue
        const { start, urgent } = target
        const next = { start, end: start + machine.length }
        machine.record = { ...record, draining: true, next }
        machine.phase = 'draining'
        machine.draining = { since: now, idleAt: now + 90_000 * random.next(), urgent }
      }
    }
    const live = [...machines].map((one) => one.record)
    const heard = ghosts.filter((one) => one.until > now).map((one) => one.record)
    views.push({ at: now, records: [...live, ...heard] })
    const rates = coverage(live, blockCount)
    const low = Math.min(...rates)
    if (wasCovered && low <= 0 && movedNow) gap.byMoves++
    wasCovered = low > 0
    // The first half hour is the swarm coming up.
    if (now < HOUR_MS / 2) continue
    steadyMs += TICK_MS
    gap.samples++
    if (low > 0) gap.covered++
    const all = live.reduce((sum, one) => sum + one.throughput, 0)
    gap.shares.push(low / (all / blockCount))
  }
  const shares = gap.shares.sort((a, b) => a - b)
  return {
    covered: gap.covered / gap.samples,
    share: shares.reduce((sum, one) => sum + one, 0) / shares.length,
    worst: shares[Math.floor(shares.length / 20)] ?? 0,
    movesAnHour: moves / (hours || steadyMs),
    gapsByMoves: gap.byMoves,
    checkMs: checkMs / Math.max(1, checkCount),
    checks: checkCount
  }
}

/**
 * The median time of five checks in a swarm whose servers begin anywhere, so that there is much to
 * do.
 */
function oneCheckMs(rule: Rule, servers: number, blockCount: number, seed: number): number {
  const random = seededRandom(seed)
  const spans: PlacedServer[] = []
  for (let at = 0; at < servers; at++) {
    const length = Math.min(blockCount, 3 + Math.floor(18 * random.next() ** 2))
    const start = random.below(blockCount - length + 1)
    const throughput = 50 * 8 ** random.next()
    spans.push({ peer: String(at).padStart(6, '0'), start, end: start + length, throughput })
  }
  const times: number[] = []
  for (const self of spans.slice(0, 5)) {
    const started = performance.now()
    rule.check(self, spans, random)
    times.push(performance.now() - started)
  }
  return times.sort((a, b) => a - b)[2] ?? 0
}

/** The records of others may be old; a server knows its own state. */
function withSelf(spans: readonly PlacedServer[], self: PlacedServer): readonly PlacedServer[] {
  if (spans.includes(self)) return spans
  return [...spans.filter((one) => one.peer !== self.peer), self]
}

const { values } = scriptArguments(import.meta.path, {
  options: {
    servers: { type: 'string', default: '30,100,300,1000' },
    blocks: { type: 'string', default: '80' },
    hours: { type: 'string', default: '2' },
    seed: { type: 'string', default: '1' },
    factor: { type: 'string', default: '1.2' },
    'check-s': { type: 'string', default: '60' },
    'petals-most': { type: 'string', default: '100' }
  }
})
const blockCount = Number(values.blocks)
console.log(
  `${blockCount} blocks, ${values.hours} simulated hours, a server stays 4 hours on average`
)
console.log(
  'servers  rule        covered  bottleneck/optimum  worst 5 %  moves/h  gaps by moves  check'
)
for (const servers of values.servers.split(',').map(Number)) {
  const own = ours(blockCount, Number(values.factor), 1000 * Number(values['check-s']))
  for (const rule of [own, joinsOnly(blockCount), petals(blockCount)]) {
    if (rule.name === 'Petals' && servers > Number(values['petals-most'])) {
      const ms = oneCheckMs(rule, servers, blockCount, Number(values.seed))
      console.log(
        `${String(servers).padStart(7)}  ${rule.name}: one check takes ${ms.toFixed(0)} ms`
      )
      continue
    }
    const report = run(rule, servers, blockCount, Number(values.hours), Number(values.seed))
    console.log(
      [
        String(servers).padStart(7),
        rule.name.padEnd(10),
        `${(100 * report.covered).toFixed(1)} %`.padStart(8),
        report.share.toFixed(3).padStart(19),
        report.worst.toFixed(3).padStart(10),
        report.movesAnHour.toFixed(1).padStart(8),
        String(report.gapsByMoves).padStart(14),
        `${report.checkMs.toFixed(2)} ms`.padStart(10)
      ].join('  ')
    )
  }
}
