// Which steps run at once, with how many rows of each, and when: the policies, and the pump that acts on them.
import { describe, expect, test } from 'bun:test'
import type { QueuedJob } from '../../src/blocks/engine/job-queue.ts'
import { RunCost } from '../../src/blocks/engine/run-cost.ts'
import {
  gatherMs,
  shareRun,
  type RunLimits,
  type Waiting
} from '../../src/blocks/engine/run-policy.ts'
import { StepPump } from '../../src/blocks/engine/step-pump.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'

const limits: RunLimits = {
  slots: 4,
  rows: 128,
  busy: false,
  cost: { baseMs: 8, rowMs: 2, pieceRowMs: 2 }
}

function waiting(...rows: readonly number[]): Waiting[] {
  return rows.map((each) => ({ group: 'a', rows: each, short: each <= 16 }))
}

describe('shareRun()', () => {
  test('runs short steps whole, as many as there are slots', () => {
    expect(shareRun(waiting(1, 5, 1, 1, 1), limits)).toEqual([1, 5, 1, 1, 0])
  })

  test('gives a long step alone all rows, and few when others may come', () => {
    expect([
      shareRun(waiting(500), limits),
      shareRun(waiting(500), { ...limits, busy: true })
    ]).toEqual([[128], [10]])
  })

  test('gives one long step a piece beside short ones that doubles the run', () => {
    expect([
      shareRun(waiting(1, 500), limits),
      shareRun(waiting(500, 700, 1, 1, 1, 1), limits),
      // Dear rows, of a session that holds much.
      shareRun(waiting(1, 500), { ...limits, cost: { ...limits.cost, pieceRowMs: 9 } })
    ]).toEqual([
      [1, 5],
      [7, 0, 1, 1, 1, 0],
      [1, 4]
    ])
  })

  test('does not run the rest of a long step whole beside a short one', () => {
    const rest = { group: 'a', rows: 13, short: false }
    expect(shareRun([rest, ...waiting(1)], limits)).toEqual([5, 1])
  })

  test('keeps groups apart, and runs by itself what has none', () => {
    const mixed: Waiting[] = [
      { group: 'a', rows: 1, short: true },
      { group: 'b', rows: 1, short: true },
      { group: undefined, rows: 1, short: true },
      { group: 'a', rows: 2, short: true }
    ]
    expect([shareRun(mixed, limits), shareRun(mixed.slice(2), limits)]).toEqual([
      [1, 0, 0, 2],
      [1, 0]
    ])
  })

  test('leaves out what is over the rows of a run', () => {
    expect(shareRun(waiting(10, 10, 3), { ...limits, rows: 16 })).toEqual([10, 0, 3])
  })
})

describe('gatherMs()', () => {
  const cost = { baseMs: 8, rowMs: 2, pieceRowMs: 2 }
  const after = (gapMs: number, now: number, onlyLong = false): number =>
    gatherMs([{ answeredAt: 100, gapMs }], { now, cost, onlyLong })

  test('waits for who comes back sooner than a run of its own would cost', () => {
    expect([after(1, 100), after(3, 101), after(5, 100)]).toEqual([2.5, 3, 0])
    expect(gatherMs([], { now: 100, cost, onlyLong: true })).toBe(0)
  })

  test('gives up on who has not come in twice the usual time', () => {
    expect(after(1, 102.5)).toBe(0)
  })

  test('waits longer where only long steps would run', () => {
    expect([after(1, 100, true), after(7, 103, true), after(9, 100, true)]).toEqual([8, 5, 0])
  })
})

describe('RunCost', () => {
  const rounded = ({ estimate }: RunCost): number[] =>
    [estimate.baseMs, estimate.rowMs, estimate.pieceRowMs].map((ms) => Math.round(ms * 100) / 100)

  test('learns what a run costs at least, and what a row', () => {
    const cost = new RunCost()
    for (let i = 0; i < 40; i++) for (const rows of [1, 4, 16]) cost.observe(rows, 6 + 2 * rows)
    expect(rounded(cost)).toEqual([6, 2, 2])
  })

  test('takes the typical where all runs were alike', () => {
    const cost = new RunCost()
    for (let i = 0; i < 40; i++) cost.observe(1, 10)
    expect(rounded(cost)).toEqual([8, 2, 2])
  })

  test('learns what rows of a piece cost, and nothing from them of what others do', () => {
    const cost = new RunCost()
    for (let i = 0; i < 40; i++) cost.observe(1, 10)
    for (let i = 0; i < 40; i++) cost.observePiece(1, 5, 10 + 20)
    expect(rounded(cost)).toEqual([8, 2, 4])
  })
})

interface FakeJob extends QueuedJob {
  readonly name: string
  rows: number
}

/** A pump whose runs take no time and are written down. */
function fakePump(): {
  pump: StepPump<FakeJob>
  clock: FakeClock
  runs: string[][]
  job(name: string, rows: number): FakeJob
} {
  const clock = new FakeClock()
  const runs: string[][] = []
  const pump = new StepPump<FakeJob>({
    clock,
    slots: 4,
    rows: () => 100,
    run(picked) {
      runs.push(picked.map(({ job, rows }) => `${job.name}:${rows}`))
      return picked.map(({ job, rows }) => (job.rows -= rows) === 0)
    },
    soon: (work) => void clock.after(10, work)
  })
  const job = (name: string, rows: number): FakeJob => ({
    name,
    rows,
    short: rows <= 16,
    group: 'a',
    drop: () => void runs.push([`${name} dropped`])
  })
  return { pump, clock, runs, job }
}

describe('StepPump', () => {
  test('runs at once what comes first, and together what came meanwhile', async () => {
    const { pump, clock, runs, job } = fakePump()
    for (const name of ['a', 'b', 'c']) pump.push(name, job(name, 1))
    await clock.advance(100)
    expect(runs).toEqual([['a:1'], ['b:1', 'c:1']])
  })

  test('lets lanes take turns, and jobs of a lane follow each other', async () => {
    const { pump, clock, runs, job } = fakePump()
    pump.push('a', job('long', 250))
    pump.push('a', job('next', 1))
    pump.push('b', job('other', 150))
    await clock.advance(100)
    expect(runs).toEqual([
      ['long:100'],
      ['long:100'],
      ['other:100'],
      ['long:50'],
      ['other:8', 'next:1'],
      // Somebody was short, and may come back.
      ['other:16'],
      ['other:16'],
      ['other:10']
    ])
  })

  test('drops a lane and tells its jobs, and no other', async () => {
    const { pump, clock, runs, job } = fakePump()
    pump.push('a', job('one', 200))
    pump.push('a', job('two', 1))
    pump.push('b', job('other', 1))
    pump.drop('a')
    await clock.advance(100)
    expect(runs).toEqual([['one:100'], ['one dropped'], ['two dropped'], ['other:1']])
  })

  test('waits for a lane that comes back at once, and for none that does not', async () => {
    const clock = new FakeClock()
    const runs: string[] = []
    let now = 0
    const later: (() => void)[] = []
    const push = (name: string): void => {
      pump.push(name, job(name), 1)
      for (const work of later.splice(0)) work()
    }
    const pump = new StepPump<FakeJob>({
      clock: {
        ...clock,
        now: () => now,
        wall: () => 0,
        after: (ms, call) => clock.after(ms, call)
      },
      slots: 4,
      rows: () => 100,
      run(picked) {
        runs.push(picked.map(({ job }) => job.name).join(' '))
        now += 10
        return picked.map(() => true)
      },
      soon: (work) => later.push(work)
    })
    const job = (name: string): FakeJob => ({
      name,
      rows: 1,
      short: true,
      group: 'a',
      drop() {}
    })
    // b has been seen to come back a millisecond after its answer, again and again.
    for (let i = 0; i < 20; i++) {
      push('b')
      for (const work of later.splice(0)) work()
      now += 1
    }
    runs.length = 0
    push('a')
    expect(runs).toEqual([])
    push('b')
    expect(runs).toEqual(['a b'])
    for (const work of later.splice(0)) work()
    // Nobody is waited for long.
    now += 500
    push('a')
    expect(runs).toEqual(['a b', 'a'])
  })
})
