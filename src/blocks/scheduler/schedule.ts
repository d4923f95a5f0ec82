// The policies of the scheduler: which waiting steps form the next run, with how many rows each,
// and how long a run waits for more steps. Pure functions over records; scheduler.ts carries them
// out.
import type { RunCostEstimate } from './run-cost.ts'

/** A waiting step, as the policies see it. */
export interface WaitingStep {
  /** The peer whose session it is. Owners take turns. */
  readonly owner: string
  /** Steps of one session keep their order. */
  readonly session: string
  /** Steps of the same group may share a run. Undefined: it runs alone. */
  readonly group: string | undefined
  /** Rows that are still to be computed. */
  readonly rows: number
  /**
   * A token, or a token and guesses: it runs whole. The last rows of a prompt do not count as
   * short.
   */
  readonly short: boolean
  /** Monotonic ms when it arrived. */
  readonly since: number
}

/** Rows of one waiting step in the next run. */
export interface Share {
  /** Index in the list of waiting steps. */
  readonly index: number
  readonly rows: number
}

export interface ScheduleState {
  /** When each owner last had a step in a run, monotonic ms. */
  readonly lastServed: ReadonlyMap<string, number>
  /**
   * Whether short steps of other sessions are expected soon; then a piece of a long step is kept
   * small.
   */
  readonly busy: boolean
  readonly cost: RunCostEstimate
  readonly now: number
}

export interface ScheduleLimits {
  /** Most sessions in one run. */
  readonly sessions: number
  /** Most rows in one run. */
  readonly rows: number
  /**
   * A long step that has waited this long is no longer overtaken by short ones, ms. Default 250.
   */
  readonly patienceMs?: number
}

/** A step of at most this many rows is short. */
export const SHORT_ROWS = 16
/** Most rows of a piece that runs alone while short steps may arrive at any moment. */
const BUSY_ROWS = 16
/** A piece may lengthen the run it shares by this factor of the run's time. */
const LENGTHENED = 1
/** Least rows of a piece, so that a prompt makes progress. */
const LEAST_PIECE = 4
/** Rows of a piece while the cost of a row is unknown. */
const FIRST_PIECE = 8

/** Compared number by number; the smaller comes first. */
type Rank = readonly [late: number, inRun: number, lastServed: number, since: number]

/**
 * The next run. Short steps go before long ones, unless these have waited long enough; then steps
 * of the owner with the fewest steps in the run, then of the owner that was served longest ago,
 * then the oldest. The first step picked determines the group. Short steps run whole, side by side;
 * one long step adds a piece.
 */
export function pickRun(
  waiting: readonly WaitingStep[],
  state: ScheduleState,
  limits: ScheduleLimits
): Share[] {
  const candidates = firstOfEachSession(waiting)
  const ofOwner = new Map<string, number>()
  const shares: Share[] = []
  let long: number | undefined
  let group: string | undefined
  let total = 0
  for (;;) {
    const index = nextCandidate(candidates, waiting, state, { ofOwner, limits })
    const one = index === undefined ? undefined : waiting[index]
    if (index === undefined || one === undefined) break
    candidates.delete(index)
    const isFirst = shares.length === 0 && long === undefined
    if (isFirst) {
      if (one.group === undefined) return [{ index, rows: Math.min(one.rows, limits.rows) }]
      group = one.group
    }
    if (one.group !== group) continue
    if (!one.short) {
      if (long !== undefined || total >= limits.rows) continue
      long = index
    } else {
      // A long step has one row at least.
      const room = limits.rows - (long === undefined ? 0 : 1)
      if (total > 0 && total + one.rows > room) continue
      shares.push({ index, rows: one.rows })
      total += one.rows
    }
    ofOwner.set(one.owner, (ofOwner.get(one.owner) ?? 0) + 1)
    if (shares.length + (long === undefined ? 0 : 1) >= limits.sessions) break
  }
  const piece = long === undefined ? undefined : waiting[long]
  if (long !== undefined && piece !== undefined) {
    shares.push({ index: long, rows: Math.min(piece.rows, pieceRows(total, state, limits)) })
  }
  return shares
}

function firstOfEachSession(waiting: readonly WaitingStep[]): Set<number> {
  const seen = new Set<string>()
  const first = new Set<number>()
  for (const [index, { session }] of waiting.entries()) {
    if (seen.has(session)) continue
    seen.add(session)
    first.add(index)
  }
  return first
}

function nextCandidate(
  candidates: ReadonlySet<number>,
  waiting: readonly WaitingStep[],
  state: ScheduleState,
  run: { ofOwner: ReadonlyMap<string, number>; limits: ScheduleLimits }
): number | undefined {
  const { patienceMs = 250 } = run.limits
  let best: { index: number; rank: Rank } | undefined
  for (const index of candidates) {
    const one = waiting[index]
    if (one === undefined) continue
    const rank: Rank = [
      !one.short && state.now - one.since < patienceMs ? 1 : 0,
      run.ofOwner.get(one.owner) ?? 0,
      state.lastServed.get(one.owner) ?? -Infinity,
      one.since
    ]
    if (best === undefined || isBefore(rank, best.rank)) best = { index, rank }
  }
  return best?.index
}

function isBefore(a: Rank, b: Rank): boolean {
  for (const [i, value] of a.entries()) {
    const other = b[i] ?? 0
    if (value !== other) return value < other
  }
  return false
}

/** Rows of a long step's piece beside `shortRows` rows of others. */
function pieceRows(shortRows: number, state: ScheduleState, limits: ScheduleLimits): number {
  const { busy, cost } = state
  const most = limits.rows
  if (shortRows > 0) return Math.max(1, Math.min(fittingRows(shortRows, cost), most - shortRows))
  return busy ? Math.min(2 * fittingRows(1, cost), BUSY_ROWS, most) : most
}

function fittingRows(shortRows: number, cost: RunCostEstimate): number {
  if (cost.pieceRowMs <= 0) return FIRST_PIECE
  const runMs = cost.baseMs + cost.rowMs * shortRows
  return Math.max(LEAST_PIECE, Math.floor((runMs * LENGTHENED) / cost.pieceRowMs))
}

/** A session that was answered and has no waiting step now. */
export interface AbsentSession {
  readonly answeredAt: number
  /** Mean time from an answer to its next step, ms. */
  readonly gapMs: number
}

/** Share of a run's fixed cost that may be spent waiting in order to merge two runs. */
const WORTH = 0.5
/**
 * The same before a run of only long steps: whoever arrives during it waits for the whole piece.
 */
const WORTH_ALONE = 1
/** Time for an answer to leave and a step to arrive within this process, ms. */
const MESSAGES_MS = 0.5

export interface GatherOptions {
  now: number
  cost: RunCostEstimate
  /** Whether only long steps wait. */
  onlyLong: boolean
}

/**
 * How long the next run should wait for steps that are expected, ms. 0 if none is, or if waiting
 * would cost more than another run.
 */
export function gatherMs(absent: readonly AbsentSession[], options: GatherOptions): number {
  const { now, cost, onlyLong } = options
  const longest = cost.baseMs * (onlyLong ? WORTH_ALONE : WORTH)
  let wait = 0
  for (const { answeredAt, gapMs } of absent) {
    if (gapMs > longest) continue
    // After twice its usual time it is not expected any more, unless waiting is cheap.
    const usual = onlyLong ? longest : Math.min(longest, 2 * gapMs + MESSAGES_MS)
    wait = Math.max(wait, answeredAt + usual - now)
  }
  return wait
}
