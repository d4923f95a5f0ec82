// How many guessed tokens to send: a pure policy over what trips cost, how often guesses were
// right, and how much may be lost by trying. Knows no swarm and no tokens; a simulator calls it
// too.

export interface Estimates {
  /** Expected duration of a trip with this many rows, ms; 0 if unknown. */
  costMs(rows: number): number
  /** Probability that an id supported by `matched` ids before it is right. */
  acceptance(matched: number): number
  /** Time of making one guess, ms. */
  guessMs: number
  /** What wrong guesses may cost on average, ms. */
  spareMs: number
  /** Whether the cost of several rows was measured recently. */
  measured: boolean
}

/** Most guesses of a trip, 32 rows: no measured costs justify more at a tolerable trip time. */
export const MOST_DRAFTED = 31
// Estimates are noisy: a smaller gain counts as none.
const MARGIN = 0.02
// If guesses are right less often than this, even measuring the cost of rows does not pay.
const WORTH_MEASURING = 0.05
// Further guesses that are reached less often than this make no difference.
const UNREACHED = 0.005

export interface Choice {
  /** How many guesses to send; 0 if none pays. */
  readonly length: number
  /** Expected tokens per ms with them; 0 if none are sent. */
  readonly rate: number
}

const NONE: Choice = Object.freeze({ length: 0, rate: 0 })

/** The number of guesses, at most `most`, with the most expected tokens per ms. */
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
