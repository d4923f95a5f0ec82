// Learns how soon sessions with short steps come back after an answer, so that a run can wait for
// them. Knows no steps; schedule.ts decides how long waiting is worth it.
import type { AbsentSession } from './schedule.ts'

interface Habit {
  answeredAt: number
  gapMs: number
}

/** A session that has not come back within this time is not expected soon, ms. */
const RECENT_MS = 1000
/** Assumed gap of an unknown session, ms: not worth waiting for. */
const FIRST_GAP_MS = 50
/** Weight of the newest gap in the moving average. */
const NEWEST = 0.5
/** Most sessions that are remembered. */
const MAX_HABITS = 256

export class Habits {
  /** The most recently answered last. */
  readonly #bySession = new Map<string, Habit>()

  /** Whether several sessions are active, so that their steps may be run together. */
  get several(): boolean {
    return this.#bySession.size > 1
  }

  /** A session's next step has arrived. */
  came(session: string, now: number): void {
    const habit = this.#bySession.get(session)
    if (habit === undefined) return
    habit.gapMs += NEWEST * (Math.min(now - habit.answeredAt, RECENT_MS) - habit.gapMs)
  }

  /** A short step of a session was answered. */
  answered(session: string, now: number): void {
    const gapMs = this.#bySession.get(session)?.gapMs ?? FIRST_GAP_MS
    this.#bySession.delete(session)
    this.#bySession.set(session, { answeredAt: now, gapMs })
    const [oldest] = this.#bySession.keys()
    if (oldest !== undefined && this.#bySession.size > MAX_HABITS) this.#bySession.delete(oldest)
  }

  forget(session: string): void {
    this.#bySession.delete(session)
  }

  /** Sessions without a waiting step that were answered a moment ago. */
  absent(now: number, isWaiting: (session: string) => boolean): AbsentSession[] {
    return [...this.#bySession].flatMap(([session, habit]) =>
      habit.answeredAt > now - RECENT_MS && !isWaiting(session) ? [habit] : []
    )
  }
}
