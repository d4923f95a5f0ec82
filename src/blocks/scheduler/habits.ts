// When sessions with short steps come back after an answer: learnt, so that a run can wait for
// them. Knows no steps; schedule.ts says how long waiting is worth it.
import type { AbsentSession } from './schedule.ts'

interface Habit {
  answeredAt: number
  gapMs: number
}

/** A session that has not come back in this time is not about to, ms. */
const RECENT_MS = 1000
/** A session's gap before it is known: not worth waiting for. */
const FIRST_GAP_MS = 50
/** Weight of the newest gap in the average. */
const NEWEST = 0.5
/** Most sessions that are remembered. */
const MAX_HABITS = 256

export class Habits {
  /** The one answered last is at the end. */
  readonly #bySession = new Map<string, Habit>()

  /** Whether several sessions are active, so that steps may come together. */
  get several(): boolean {
    return this.#bySession.size > 1
  }

  /** A session's next step has come. */
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

  /** Sessions that have nothing waiting and were answered a moment ago. */
  absent(now: number, isWaiting: (session: string) => boolean): AbsentSession[] {
    return [...this.#bySession].flatMap(([session, habit]) =>
      habit.answeredAt > now - RECENT_MS && !isWaiting(session) ? [habit] : []
    )
  }
}
