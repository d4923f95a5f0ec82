// Which steps run at once, with how many rows of each, and when: the policies, and the loop that
// acts on them.
import { describe, expect, test } from 'bun:test'
import { AppError, closed } from '../../src/base/errors.ts'
import { RunCost } from '../../src/blocks/scheduler/run-cost.ts'
import {
  gatherMs,
  pickRun,
  type ScheduleLimits,
  type ScheduleState,
  type WaitingStep
} from '../../src/blocks/scheduler/schedule.ts'
import { Scheduler, type PieceOutcome } from '../../src/blocks/scheduler/scheduler.ts'
import type { RunPiece } from '../../src/blocks/scheduler/step-job.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'

const limits: ScheduleLimits = { sessions: 4, rows: 128 }
const state: ScheduleState = {
  lastServed: new Map(),
  busy: false,
  cost: { baseMs: 8, rowMs: 2, pieceRowMs: 2 },
  now: 1000
}

/** Steps of one owner's sessions, by their rows. */
function waiting(...rows: readonly number[]): WaitingStep[] {
  return rows.map((each, i) => ({
    owner: 'o',
    session: `s${i}`,
    group: 'a',
    rows: each,
    short: each <= 16,
    since: 0
  }))
}

function step(owner: string, session: string, rows: number, since: number): WaitingStep {
  return { owner, session, group: 'a', rows, short: rows <= 16, since }
}

/** Rows of each waiting step in the next run. */
function rowsOf(steps: readonly WaitingStep[], at = state, within = limits): number[] {
  const rows = steps.map(() => 0)
  for (const share of pickRun(steps, at, within)) rows[share.index] = share.rows
  return rows
}

describe('pickRun()', () => {
  test('runs short steps whole, as many as a run has sessions', () => {
    expect(rowsOf(waiting(1, 5, 1, 1, 1))).toEqual([1, 5, 1, 1, 0])
  })

  test('gives a long step alone all rows, and few when others may come', () => {
    expect([rowsOf(waiting(500)), rowsOf(waiting(500), { ...state, busy: true })]).toEqual([
      [128],
      [10]
    ])
  })

  test('gives one long step a piece beside short ones that doubles the run', () => {
    expect([
      rowsOf(waiting(1, 500)),
      rowsOf(waiting(500, 700, 1, 1, 1, 1)),
      // Dear rows, of a session that holds much.
      rowsOf(waiting(1, 500), { ...state, cost: { ...state.cost, pieceRowMs: 9 } })
    ]).toEqual([
      [1, 5],
      [7, 0, 1, 1, 1, 0],
      [1, 4]
    ])
  })

  test('does not run the rest of a long step whole beside a short one', () => {
    const rest = { ...step('o', 'rest', 13, 0), short: false }
    expect(rowsOf([rest, step('o', 's', 1, 0)])).toEqual([5, 1])
  })

  test('keeps groups apart, and runs by itself what has none', () => {
    const mixed = waiting(1, 1, 1, 2).map((one, i) => ({
      ...one,
      group: ['a', 'b', undefined, 'a'][i]
    }))
    expect([rowsOf(mixed), rowsOf(mixed.slice(2))]).toEqual([
      [1, 0, 0, 2],
      [1, 0]
    ])
  })

  test('leaves out what is over the rows of a run', () => {
    expect(rowsOf(waiting(10, 10, 3), state, { ...limits, rows: 16 })).toEqual([10, 0, 3])
  })

  test('gives a long step no row more than a run has, whichever was picked first', () => {
    const within = { sessions: 20, rows: 128 }
    const full = Array.from({ length: 8 }, () => 16)
    const late = { ...step('other', 'late', 500, 0), since: -1000 }
    expect([
      rowsOf(waiting(...full, 500), state, within),
      rowsOf([late, ...waiting(...full)], state, within)
    ]).toEqual([
      [...full, 0],
      [16, ...full.slice(1), 0]
    ])
  })

  test('serves owners in turn, not by who asks most', () => {
    const steps = [
      step('a', 'a1', 1, 0),
      step('a', 'a2', 1, 1),
      step('a', 'a3', 1, 2),
      step('b', 'b1', 1, 3)
    ]
    const one = { sessions: 1, rows: 128 }
    const served = new Map([['a', 900]])
    expect([
      pickRun(steps, state, one),
      pickRun(steps, { ...state, lastServed: served }, one),
      pickRun(steps, state, { sessions: 2, rows: 128 })
    ]).toEqual([
      [{ index: 0, rows: 1 }],
      [{ index: 3, rows: 1 }],
      [
        { index: 0, rows: 1 },
        { index: 3, rows: 1 }
      ]
    ])
  })

  test('lets a decode step of other blocks overtake a prompt, until that has waited enough', () => {
    const prompt = { ...step('a', 'a1', 128, 0), group: 'x' }
    const steps = [prompt, step('b', 'b1', 1, 100)]
    expect([rowsOf(steps, { ...state, now: 120 }), rowsOf(steps, { ...state, now: 260 })]).toEqual([
      [0, 1],
      [128, 0]
    ])
  })

  test('keeps the order within a session', () => {
    expect(rowsOf([step('a', 'a1', 200, 0), step('a', 'a1', 1, 1)])).toEqual([128, 0])
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

/** A scheduler whose engine takes 10 ms a run, doubles values, and writes down what it ran. */
function world(onrun: (pieces: readonly RunPiece[]) => (AppError | undefined)[] = () => []) {
  const clock = new FakeClock()
  const runs: string[] = []
  const cuts: string[] = []
  let stops = 0
  const run = async (pieces: readonly RunPiece[]): Promise<PieceOutcome[]> => {
    runs.push(pieces.map(({ session, hidden }) => `${session}:${hidden.length}`).join(' '))
    await new Promise<void>((resolve) => void clock.after(10, resolve))
    const errors = onrun(pieces)
    return pieces.map(({ hidden }, i) => errors[i] ?? hidden.map((value) => 2 * value))
  }
  const scheduler = new Scheduler({
    clock,
    sessions: 4,
    rows: () => 100,
    run,
    runHead: async (piece) => (await run([piece]))[0]!,
    stop: () => void stops++,
    cut: (session, length) => void cuts.push(`${session}@${length}`),
    soon: (work) => void clock.after(1, work)
  })
  const ask = (session: number, count: number, signal?: AbortSignal, start = 0) =>
    scheduler.step(
      { session, start, count, hidden: Float32Array.from({ length: count }, (_, i) => i) },
      'a',
      signal
    )
  return { clock, runs, cuts, scheduler, ask, stops: () => stops }
}

describe('Scheduler', () => {
  test('runs at once what comes first, and together what came meanwhile', async () => {
    const { clock, runs, ask } = world()
    const first = ask(1, 1)
    await clock.advance(1)
    const answers = [ask(2, 1), ask(3, 1)]
    await clock.advance(100)
    await Promise.all([first, ...answers])
    expect(runs).toEqual(['1:1', '2:1 3:1'])
  })

  test('cuts a long step into pieces and gives one answer', async () => {
    const { clock, runs, ask } = world()
    const answer = ask(1, 250)
    await clock.advance(100)
    const { hidden, computeMs } = await answer
    expect({ runs, computeMs, same: hidden.every((value, i) => value === 2 * i) }).toEqual({
      runs: ['1:100', '1:100', '1:50'],
      computeMs: 30,
      same: true
    })
  })

  test('keeps the order of a session, beside the prompts of others', async () => {
    const { clock, runs, ask } = world()
    const prompt = ask(1, 150)
    await clock.advance(1)
    const answers = [prompt, ask(1, 1, undefined, 150), ask(2, 1)]
    await clock.advance(200)
    await Promise.all(answers)
    expect(runs).toEqual(['1:100', '2:1 1:8', '1:16', '1:16', '1:10', '1:1'])
  })

  test('makes the rows of a step only when they run', async () => {
    const { clock, scheduler, ask } = world()
    const first = ask(1, 1)
    let made = 0
    const hidden = (): Float32Array => {
      made++
      return Float32Array.of(1)
    }
    const second = scheduler.step({ session: 1, start: 1, count: 1, hidden }, 'a')
    expect(made).toBe(0)
    await clock.advance(50)
    await Promise.all([first, second])
    expect(made).toBe(1)
  })

  test('ends a step whose rows cannot be made, and runs what follows', async () => {
    const { clock, runs, scheduler, ask } = world()
    const late = new AppError('TIMEOUT', 'Too late')
    const hidden = (): Float32Array => {
      throw late
    }
    const refused = scheduler.step({ session: 1, start: 0, count: 1, hidden }, 'a')
    const next = ask(2, 1)
    const failure = refused.catch((error: unknown) => error)
    await clock.advance(50)
    await next
    expect([await failure, runs]).toEqual([late, ['2:1']])
  })

  test('a step that is cancelled while it waits is never run', async () => {
    const { clock, runs, cuts, ask, stops } = world()
    const abort = new AbortController()
    const first = ask(1, 1)
    const second = ask(2, 1, abort.signal).catch((error: AppError) => error.code)
    abort.abort()
    await clock.advance(50)
    await first
    expect([await second, runs, cuts, stops()]).toEqual(['CANCELLED', ['1:1'], [], 0])
  })

  test('a step that is cancelled while it runs alone stops the run, and its session is cut', async () => {
    const { clock, cuts, ask, stops } = world()
    const abort = new AbortController()
    const answer = ask(1, 3, abort.signal, 7).catch((error: AppError) => error.code)
    await clock.advance(1)
    abort.abort()
    expect([await answer, stops()]).toEqual(['CANCELLED', 1])
    await clock.advance(50)
    expect(cuts).toEqual(['1@7'])
  })

  test('a step that is cancelled in a run with others leaves them alone', async () => {
    const { clock, runs, cuts, ask, stops } = world()
    const abort = new AbortController()
    const first = ask(3, 1)
    await clock.advance(1)
    const cancelledStep = ask(1, 1, abort.signal).catch((error: AppError) => error.code)
    const other = ask(2, 1)
    await clock.advance(12)
    abort.abort()
    await clock.advance(50)
    expect([await cancelledStep, (await other).hidden.length, stops(), cuts, runs]).toEqual([
      'CANCELLED',
      1,
      0,
      ['1@0'],
      ['3:1', '1:1 2:1']
    ])
    await first
  })

  test('what goes wrong with one session is its own', async () => {
    const broken = new AppError('COMPUTE', 'Not a number')
    const { clock, cuts, ask } = world((pieces) =>
      pieces.map(({ session }) => (session === 2 ? broken : undefined))
    )
    const answers = [ask(1, 1), ask(2, 1), ask(3, 1)].map((one) =>
      one.then(
        () => 'ok',
        (error: AppError) => error.code
      )
    )
    await clock.advance(50)
    expect([await Promise.all(answers), cuts]).toEqual([['ok', 'COMPUTE', 'ok'], ['2@0']])
  })

  test('drop() ends the steps of a session, and no other', async () => {
    const { clock, runs, scheduler, ask } = world()
    const first = ask(3, 1)
    await clock.advance(1)
    const gone = [ask(1, 1), ask(1, 1, undefined, 1)].map((one) =>
      one.catch((error: AppError) => error.code)
    )
    const other = ask(2, 1)
    scheduler.drop(1, closed('The session was closed while it computed'))
    await clock.advance(50)
    await Promise.all([first, other])
    expect([await Promise.all(gone), runs]).toEqual([
      ['CLOSED', 'CLOSED'],
      ['3:1', '2:1']
    ])
  })

  test('waits for a session that comes back at once, and for none that does not', async () => {
    const { clock, runs, ask } = world()
    let at = 0
    // Session 2 comes back a millisecond after each answer.
    for (let i = 0; i < 20; i++) {
      const answer = ask(2, 1, undefined, at++)
      await clock.advance(11)
      await answer
      await clock.advance(1)
    }
    runs.length = 0
    const first = ask(1, 1)
    await clock.advance(0.5)
    expect(runs).toEqual([])
    const second = ask(2, 1, undefined, at)
    await clock.advance(20)
    await Promise.all([first, second])
    expect(runs).toEqual(['1:1 2:1'])
    await clock.advance(500)
    const alone = ask(1, 1, undefined, 1)
    await clock.advance(50)
    await alone
    expect(runs).toEqual(['1:1 2:1', '1:1'])
  })

  test('runs a head at once, though a session is expected back', async () => {
    const { clock, runs, scheduler, ask } = world()
    for (let at = 0; at < 20; at++) {
      const answer = ask(1, 1, undefined, at)
      await clock.advance(11)
      await answer
      await clock.advance(1)
    }
    runs.length = 0
    const rows = { session: 9, start: 0, count: 1, hidden: new Float32Array(1) }
    const head = scheduler.step(rows, undefined)
    await clock.advance(0.5)
    expect(runs).toEqual(['9:1'])
    await clock.advance(20)
    await head
  })
})
