// How many guessed tokens to send along: a pure policy over what trips cost, how often guesses were
// right and how much may be lost by trying. Knows no swarm and no tokens; a simulator calls it too.

export interface Estimates {
  /** Expected ms of a trip with so many rows; 0 when unknown. */
  costMs(rows: number): number
  /** Probability that an id supported by `matched` ids before it is right. */
  acceptance(matched: number): number
  /** Time of making one guess, ms. */
  guessMs: number
  /** What guesses may lose on average where they turn out wrong, ms. */
  spareMs: number
  /** Whether the cost of several rows was measured lately. */
  measured: boolean
}

/** 32 rows a trip: beyond it no table of costs pays at a trip time that anyone would bear. */
export const MOST_DRAFTED = 31
// Estimates are noisy: a gain below this is taken for none.
const MARGIN = 0.02
// A guess right less often than this cannot pay enough to be worth measuring what rows cost.
const WORTH_MEASURING = 0.05
// Further guesses that are reached less often than this change nothing.
const UNREACHED = 0.005

export interface Choice {
  /** How many guesses to send; 0 when none pays. */
  readonly length: number
  /** Expected tokens a ms with them; 0 when none are sent. */
  readonly rate: number
}

const NONE: Choice = Object.freeze({ length: 0, rate: 0 })

/** The number of guesses, at most `most`, with the most expected tokens a ms. */
export function chooseDraft(estimates: Estimates, matched: number, most: number): Choice {
  const { spareMs, measured, guessMs } = estimates
  const plainMs = estimates.costMs(1)
  if (plainMs <= 0 || most <= 0) return NONE
  let best = NONE
  let bestRate = (1 + MARGIN) / plainMs
  let tokens = 1
  let reached = 1
  /** Probability of exactly i right guesses before the first wrong one. */
  const ends: number[] = []
  for (let drafted = 1; drafted <= Math.min(most, MOST_DRAFTED); drafted++) {
    const right = reached * estimates.acceptance(matched + drafted - 1)
    ends.push(reached - right)
    reached = right
    tokens += reached
    if (reached < UNREACHED) break
    const costMs = estimates.costMs(drafted + 1) + guessMs * drafted
    const riskMs = ends.reduce((sum, p, i) => sum + p * Math.max(0, costMs - (i + 1) * plainMs), 0)
    if (riskMs > spareMs) continue
    const rate = tokens / costMs
    const pays = rate > bestRate
    const measures = drafted === 1 && !measured && reached >= WORTH_MEASURING
    if (!pays && !measures) continue
    best = { length: drafted, rate }
    if (pays) bestRate = rate
  }
  return best
}
