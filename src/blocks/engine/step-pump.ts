// Runs what waits, run after run, and lets messages in between two: so a long prompt holds nobody up for
// longer than a piece of it, and steps that come at about the same time run at once.
// Called by worker.ts; knows no messages and no engine.
import type { Clock } from '../../base/clock.ts'
import { JobQueue, type Picked, type QueuedJob } from './job-queue.ts'
import { RunCost } from './run-cost.ts'
import { gatherMs, type Absent } from './run-policy.ts'

export interface PumpOptions<J extends QueuedJob> {
  clock: Clock
  /** Steps at once. */
  slots: number
  /** Rows at once. */
  rows: () => number
  /** Runs rows of each job; whether each is done. Reports what goes wrong by itself, never throws. */
  run: (picked: readonly Picked<J>[]) => boolean[]
  /** Calls back once all messages that have come were read. */
  soon?: (work: () => void) => void
}

/** What is known of a lane's habits. */
interface Habit {
  answeredAt: number
  gapMs: number
}

/** A lane that has not come back in this time is not about to, ms. */
const RECENT_MS = 1000
/** What a lane's gap is taken for before it is known: worth no waiting. */
const FIRST_GAP_MS = 50
/** Weight of the newest gap in the average. */
const NEWEST = 0.5
/** Habits of so many lanes are remembered: a session has one, and sessions end. */
const MAX_HABITS = 256

export class StepPump<J extends QueuedJob> {
  readonly queue: JobQueue<J> = new JobQueue<J>()
  readonly #options: PumpOptions<J>
  readonly #soon: (work: () => void) => void
  readonly #cost = new RunCost()
  /** Of lanes with short steps, that answered last at the end. */
  readonly #habits = new Map<string, Habit>()
  /** Whether the next run is on its way. */
  #running = false
  #stopWaiting: (() => void) | undefined

  constructor(options: PumpOptions<J>) {
    this.#options = options
    this.#soon = options.soon ?? setImmediate
  }

  /** `gapMs`: how long after its lane's last answer the job was asked for, where that is known. */
  push(lane: string, job: J, gapMs?: number): void {
    const habit = this.#habits.get(lane)
    if (habit !== undefined && gapMs !== undefined) {
      habit.gapMs += NEWEST * (Math.min(gapMs, RECENT_MS) - habit.gapMs)
    }
    this.queue.push(lane, job)
    if (this.#running) return
    // Where several lanes are about, the messages beside this one may be theirs.
    if (this.#habits.size > 1 && this.#stopWaiting === undefined) this.#later()
    else this.#next()
  }

  /** The lane is gone. */
  drop(lane: string): void {
    this.#habits.delete(lane)
    this.queue.drop(lane)
  }

  /** Runs now, or when those have come who are about to. */
  #next(): void {
    this.#stopWaiting?.()
    this.#stopWaiting = undefined
    this.#running = false
    if (this.queue.idle) return
    const { clock } = this.#options
    const onlyLong = this.queue.heads.every(({ short }) => !short)
    const cost = this.#cost.estimate
    const wait = gatherMs(this.#absent(), { now: clock.now(), cost, onlyLong })
    if (wait > 0) this.#stopWaiting = clock.after(wait, () => this.#run())
    else this.#run()
  }

  #run(): void {
    this.#stopWaiting = undefined
    const { clock, slots, rows, run } = this.#options
    const busy = this.#absent().length > 0
    const cost = this.#cost.estimate
    const picked = this.queue.pick({ slots, rows: rows(), busy, cost })
    const began = clock.now()
    const done = run(picked)
    const now = clock.now()
    this.#learn(picked, now - began)
    for (const [i, { lane, job }] of picked.entries()) {
      if (!done[i]) continue
      this.queue.remove((one) => one === job)
      if (job.group !== undefined && job.short) this.#answered(lane, now)
    }
    // What came while it ran is read before anybody runs alone.
    this.#later()
  }

  #later(): void {
    this.#running = true
    this.#soon(() => this.#next())
  }

  #learn(picked: readonly Picked<J>[], ms: number): void {
    if (picked.some(({ job }) => job.group === undefined)) return
    let [short, piece] = [0, 0]
    for (const { job, rows } of picked) {
      if (job.short) short += rows
      else piece += rows
    }
    if (piece === 0) this.#cost.observe(short, ms)
    else if (short > 0) this.#cost.observePiece(short, piece, ms)
  }

  #answered(lane: string, now: number): void {
    const gapMs = this.#habits.get(lane)?.gapMs ?? FIRST_GAP_MS
    this.#habits.delete(lane)
    this.#habits.set(lane, { answeredAt: now, gapMs })
    const [oldest] = this.#habits.keys()
    if (oldest !== undefined && this.#habits.size > MAX_HABITS) this.#habits.delete(oldest)
  }

  /** Lanes with short steps that have none now, and may soon. */
  #absent(): Absent[] {
    const since = this.#options.clock.now() - RECENT_MS
    return [...this.#habits].flatMap(([lane, habit]) =>
      habit.answeredAt > since && !this.queue.has(lane) ? [habit] : []
    )
  }
}
