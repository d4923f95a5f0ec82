// Which steps run at once, with how many rows of each, and how long to wait for more of them: pure policies.
// Know no engine; step-pump.ts acts on them.
import type { RunCostEstimate } from './run-cost.ts'

/** The step of a lane whose turn it is. */
export interface Waiting {
  /** Steps of the same group may run at once; undefined: by itself. */
  readonly group: string | undefined
  /** Rows that are still to be computed. */
  readonly rows: number
  /** Whether it is run whole, as a token is; the last rows of a prompt are still a prompt's. */
  readonly short: boolean
}

export interface RunLimits {
  /** Steps in one run. */
  readonly slots: number
  /** Rows in one run. */
  readonly rows: number
  /** Whether short steps of other sessions are about to come, for which a long one's piece should be small. */
  readonly busy: boolean
  readonly cost: RunCostEstimate
}

/** A step of at most this many rows is short: a token, or a token and guesses. */
export const SHORT_ROWS = 16
/** Most rows of a long step's piece that runs alone while others may come any moment. */
const BUSY_ROWS = 16
/** By how much a long step's piece may lengthen the run that it shares. */
const LENGTHENED = 1
/** A piece has so many rows however dear they are, or a prompt would never end. */
const LEAST_PIECE = 4
/** Rows of a piece before anything is known of what they cost. */
const FIRST_PIECE = 8

/**
 * Rows of each waiting step in the next run, 0 for those not in it. `waiting` lies in the order of turns: the
 * first decides which group it is. Short steps run whole, side by side; one long one has a piece beside them.
 */
export function shareRun(waiting: readonly Waiting[], limits: RunLimits): number[] {
  const [leader] = waiting
  if (leader === undefined) return []
  if (leader.group === undefined) return waiting.map((_, i) => (i === 0 ? leader.rows : 0))
  const fits = ({ group }: Waiting): boolean => group === leader.group
  const long = waiting.findIndex((one) => fits(one) && !one.short)
  const places = long === -1 ? limits.slots : limits.slots - 1
  let taken = 0
  let total = 0
  const shares = waiting.map((one) => {
    if (!fits(one) || !one.short || taken === places) return 0
    if (total > 0 && total + one.rows > limits.rows) return 0
    taken++
    total += one.rows
    return one.rows
  })
  const piece = waiting[long]
  if (piece) shares[long] = Math.min(piece.rows, pieceRows(total, limits))
  return shares
}

/** Rows of a long step beside `shortRows` of others. */
function pieceRows(shortRows: number, { busy, cost, rows: most }: RunLimits): number {
  if (shortRows > 0) return Math.max(1, Math.min(fittingRows(shortRows, cost), most - shortRows))
  return busy ? Math.min(2 * fittingRows(1, cost), BUSY_ROWS, most) : most
}

function fittingRows(shortRows: number, cost: RunCostEstimate): number {
  if (cost.pieceRowMs <= 0) return FIRST_PIECE
  const runMs = cost.baseMs + cost.rowMs * shortRows
  return Math.max(LEAST_PIECE, Math.floor((runMs * LENGTHENED) / cost.pieceRowMs))
}

/** A lane that was answered and has nothing waiting now. */
export interface Absent {
  readonly answeredAt: number
  /** How long after an answer its next step came, on average, ms. */
  readonly gapMs: number
}

/** Part of a run's fixed cost that may be spent waiting so that two runs become one. */
const WORTH = 0.5
/** The same before a run of long steps alone, which makes who comes meanwhile wait for all of a piece. */
const WORTH_ALONE = 1
/** An answer on its way out of this thread, and a step on its way in. */
const MESSAGES_MS = 0.5

export interface GatherOptions {
  now: number
  cost: RunCostEstimate
  /** Whether only long steps wait. */
  onlyLong: boolean
}

/**
 * How long the next run should wait for steps that are about to come, ms: 0 when none is, or none that would
 * come before waiting costs more than a run of its own.
 */
export function gatherMs(absent: readonly Absent[], options: GatherOptions): number {
  const { now, cost, onlyLong } = options
  const longest = cost.baseMs * (onlyLong ? WORTH_ALONE : WORTH)
  let wait = 0
  for (const { answeredAt, gapMs } of absent) {
    if (gapMs > longest) continue
    // Twice its usual time and that of two messages, and it is not coming: unless waiting is cheap.
    const usual = onlyLong ? longest : Math.min(longest, 2 * gapMs + MESSAGES_MS)
    wait = Math.max(wait, answeredAt + usual - now)
  }
  return wait
}
