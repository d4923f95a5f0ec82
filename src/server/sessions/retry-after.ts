// When what a server lacks now will be there again, from how long its sessions lived and how long
// the open ones have: a pure estimate for `retryAfterMs`. Knows no sessions beyond their numbers.

/** A session that is open now. */
export interface HeldSession {
  /** What it frees when it ends. */
  readonly tokens: number
  readonly ageMs: number
  /** Since its last step. */
  readonly idleMs: number
}

export interface Lives {
  /** How long sessions lived that ended lately, ms. */
  readonly ended: readonly number[]
  /** A session unused this long is dropped. */
  readonly idleLimitMs: number
}

/** Fewer ended sessions than this say nothing of how much longer one lives. */
const LEAST_ENDED = 3
/** Bounds of what a client is told: asking more often is no use, nor is giving up for longer. */
const LEAST_MS = 250
const MOST_MS = 600_000

/**
 * How long `held` sessions are expected to take until those that ended free `tokens` together, ms.
 * Infinity of tokens, or more than all hold: the longest there is.
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

/** How much longer a session is expected to live, ms. */
function restMs({ ageMs, idleMs }: HeldSession, { ended, idleLimitMs }: Lives): number {
  const longer = ended.filter((life) => life > ageMs)
  const mean = longer.reduce((sum, life) => sum + life - ageMs, 0) / longer.length
  // Of what has lived for so long that nothing like it ended, as much again is the best guess.
  const rest = longer.length < LEAST_ENDED ? ageMs : mean
  return Math.min(rest, Math.max(0, idleLimitMs - idleMs))
}

/**
 * When half of a peer's waiting steps will be done at the pace of late, ms; undefined: no pace is
 * known.
 */
export function roomInMs(waiting: number, msPerStep: number | undefined): number | undefined {
  return msPerStep === undefined ? undefined : bounded((waiting / 2) * msPerStep)
}

function bounded(ms: number): number {
  return Math.round(Math.min(MOST_MS, Math.max(LEAST_MS, ms)))
}
