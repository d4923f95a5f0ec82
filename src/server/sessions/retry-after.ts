// Estimates when a full server will have room again, from how long ended sessions lived and how
// long the open ones have lived: `retryAfterMs` of an answer. Pure.

/** An open session. */
export interface HeldSession {
  /** Tokens that are freed when it ends. */
  readonly tokens: number
  readonly ageMs: number
  /** Time since its last step. */
  readonly idleMs: number
}

export interface Lives {
  /** How long recently ended sessions lived, ms. */
  readonly ended: readonly number[]
  /** A session without a step for this long is closed, ms. */
  readonly idleLimitMs: number
}

/** From fewer ended sessions no lifetime is estimated. */
const LEAST_ENDED = 3
/**
 * Bounds of what a client is told: asking more often does not help, and longer waits are useless to
 * it.
 */
const LEAST_MS = 250
const MOST_MS = 600_000

/**
 * Expected time until those of `held` that end free `tokens` together, ms. The longest possible if
 * they hold less than that, or for Infinity.
 */
export function freeInMs(tokens: number, held: readonly HeldSession[], lives: Lives): number {
  const ends = held
    .map((session) => ({ tokens: session.tokens, inMs: restMs(session, lives) }))
    .sort((a, b) => a.inMs - b.inMs)
  let freed = 0
  for (const { tokens: more, inMs } of ends) {
    freed += more
    if (freed >= tokens) return bounded(inMs)
  }
  return MOST_MS
}

/** Expected remaining life of a session, ms. */
function restMs({ ageMs, idleMs }: HeldSession, { ended, idleLimitMs }: Lives): number {
  const longer = ended.filter((life) => life > ageMs)
  const mean = longer.reduce((sum, life) => sum + life - ageMs, 0) / longer.length
  // If too few ended sessions lived as long as this one, expect it to live as long again.
  const rest = longer.length < LEAST_ENDED ? ageMs : mean
  return Math.min(rest, Math.max(0, idleLimitMs - idleMs))
}

/**
 * When half of a peer's waiting steps will be done at the recent pace, ms; undefined if no pace is
 * known.
 */
export function roomInMs(waiting: number, msPerStep: number | undefined): number | undefined {
  return msPerStep === undefined ? undefined : bounded((waiting / 2) * msPerStep)
}

function bounded(ms: number): number {
  return Math.round(Math.min(MOST_MS, Math.max(LEAST_MS, ms)))
}
