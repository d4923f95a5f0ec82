// The process's one scheduler: all steps, and rows for heads, wait here for their runs in the
// engine. The loop is `schedule, run, deliver`; schedule.ts decides what is next. Knows peers only
// as names of owners, and of the engine only `run`.
import type { Clock } from '../../base/clock.ts'
import { cancelled, toAppError, type AppError } from '../../base/errors.ts'
import { Background } from './background.ts'
import { Habits } from './habits.ts'
import { RunCost } from './run-cost.ts'
import { gatherMs, pickRun } from './schedule.ts'
import { StepJob, type RunPiece, type ScheduledStep, type StepAnswer } from './step-job.ts'

/** Result of a piece: its rows (rows, width), or its error. */
export type PieceOutcome = Float32Array | AppError

export interface SchedulerOptions {
  clock: Clock
  /** Most sessions in one run. Default 32. */
  sessions?: number
  /** Most rows in one run. */
  rows: () => number
  /** Runs pieces of different sessions in one run. */
  run: (pieces: readonly RunPiece[]) => Promise<readonly PieceOutcome[]>
  /** Computes logits of rows. */
  runHead: (piece: RunPiece) => Promise<PieceOutcome>
  /** Ends the current run early, if that is possible. */
  stop: () => void
  /** Cuts positions that a cancelled or failed step has added to its session. */
  cut: (session: number, length: number) => void
  /** Calls back once the messages that have arrived are read. Default: setImmediate. */
  soon?: (work: () => void) => void
}

/** Most owners whose last turn is remembered. */
const MAX_OWNERS = 4096

interface Picked {
  readonly job: StepJob
  readonly piece: RunPiece
  readonly rows: number
}

export class Scheduler {
  readonly #options: SchedulerOptions
  readonly #soon: (work: () => void) => void
  readonly #cost = new RunCost()
  readonly #habits = new Habits()
  readonly #lastServed = new Map<string, number>()
  readonly #training: Background
  #waiting: StepJob[] = []
  #running: readonly Picked[] = []
  #looping = false
  /** Makes a run that waits for steps look again at what has arrived. */
  #wake: () => void = () => {}

  constructor(options: SchedulerOptions) {
    this.#options = options
    this.#soon = options.soon ?? setImmediate
    this.#training = new Background(options.clock, options.stop)
  }

  /** Steps that wait or run. */
  get size(): number {
    return this.#waiting.length
  }

  /** Computes a step; steps of one `group` may share runs, those without run alone. */
  async step(
    step: ScheduledStep,
    group: string | undefined,
    signal?: AbortSignal
  ): Promise<StepAnswer> {
    if (signal?.aborted) throw cancelled('The step was cancelled')
    const now = this.#options.clock.now()
    const job = new StepJob(step, group, now)
    const onabort = (): void => this.#cancel(job)
    signal?.addEventListener('abort', onabort, { once: true })
    this.#habits.came(job.session, now)
    this.#waiting.push(job)
    this.#wake()
    this.#training.yield()
    void this.#loop()
    try {
      return await job.answer
    } finally {
      signal?.removeEventListener('abort', onabort)
    }
  }

  /**
   * Work that gives way to every step: `slice` is called, again and again, until it has a result;
   * it comes to none when it was stopped.
   */
  train<T extends object>(slice: () => Promise<T | undefined>, signal?: AbortSignal): Promise<T> {
    const answer = this.#training.add(slice, signal)
    void this.#loop()
    return answer
  }

  /** A session is closed: its steps end with `error`. */
  drop(session: number, error: AppError): void {
    this.#habits.forget(`session ${session}`)
    this.#end((job) => job.group !== undefined && job.step.session === session, error)
  }

  /** A head is closed: its rows end with `error`. */
  dropHead(head: number, error: AppError): void {
    this.#end((job) => job.group === undefined && job.step.session === head, error)
  }

  /** Ends all steps with `error`. */
  close(error: AppError): void {
    this.#end(() => true, error)
    this.#training.close(error)
    this.#options.stop()
  }

  async #loop(): Promise<void> {
    if (this.#looping) return
    this.#looping = true
    // If several sessions are active, messages that arrived with this one may bring their steps.
    if (this.#habits.several) await this.#messages()
    while (this.#waiting.length > 0 || this.#training.size > 0) {
      await this.#training.turn(this.#waiting.length > 0)
      if (this.#waiting.length > 0) await this.#gather()
      this.#running = this.#schedule()
      if (this.#running.length > 0) {
        const began = this.#options.clock.now()
        const outcomes = await this.#run(this.#running)
        this.#deliver(this.#running, outcomes, began)
        this.#running = []
      }
      await this.#messages()
    }
    this.#looping = false
  }

  /** Waits for sessions that are expected back, as long as that is worth it. */
  async #gather(): Promise<void> {
    const { clock } = this.#options
    for (;;) {
      // A head's rows share no run, and the session that is expected may be the one they are for.
      if (this.#waiting.some(({ group }) => group === undefined)) return
      const now = clock.now()
      const onlyLong = this.#waiting.every(({ short }) => !short)
      const wait = gatherMs(this.#absent(now), { now, cost: this.#cost.estimate, onlyLong })
      if (wait <= 0) return
      const { promise, resolve } = Promise.withResolvers<void>()
      const stop = clock.after(wait, resolve)
      this.#wake = resolve
      await promise
      stop()
    }
  }

  /** Takes the pieces of the next run. A step whose rows cannot be made ends here. */
  #schedule(): Picked[] {
    const { clock, sessions = 32, rows } = this.#options
    const now = clock.now()
    const state = {
      lastServed: this.#lastServed,
      busy: this.#absent(now).length > 0,
      cost: this.#cost.estimate,
      now
    }
    const shares = pickRun(this.#waiting, state, { sessions, rows: rows() })
    const picked = shares.flatMap((share): Picked[] => {
      const job = this.#waiting[share.index]
      if (job === undefined) return []
      this.#served(job.owner, now)
      try {
        return [{ job, rows: share.rows, piece: job.take(share.rows) }]
      } catch (error) {
        if (job.begun) this.#undo(job)
        job.fail(toAppError(error))
        return []
      }
    })
    this.#waiting = this.#waiting.filter((job) => !job.settled)
    return picked
  }

  async #run(picked: readonly Picked[]): Promise<readonly PieceOutcome[]> {
    const { run, runHead } = this.#options
    const [first] = picked
    try {
      if (first?.job.group === undefined && first !== undefined) {
        return [await runHead(first.piece)]
      }
      return await run(picked.map(({ piece }) => piece))
    } catch (error) {
      return picked.map(() => toAppError(error))
    }
  }

  #deliver(picked: readonly Picked[], outcomes: readonly PieceOutcome[], began: number): void {
    const now = this.#options.clock.now()
    this.#learn(picked, now - began)
    for (const [i, { job, rows }] of picked.entries()) {
      const outcome = outcomes[i]
      if (job.settled || outcome === undefined) {
        if (job.settled) this.#undo(job)
      } else if (outcome instanceof Float32Array) {
        job.ran(outcome, rows, now - began)
        if (job.settled && job.short && job.group !== undefined) {
          this.#habits.answered(job.session, now)
        }
      } else {
        this.#undo(job)
        job.fail(outcome)
      }
    }
    this.#waiting = this.#waiting.filter((job) => !job.settled)
  }

  #cancel(job: StepJob): void {
    if (job.settled) return
    job.fail(cancelled('The step was cancelled'))
    this.#waiting = this.#waiting.filter((one) => one !== job)
    const isRunning = this.#running.some((one) => one.job === job)
    // A run that others share continues without it.
    if (isRunning && this.#running.every((one) => one.job.settled)) this.#options.stop()
    if (!isRunning && job.begun) this.#undo(job)
  }

  #end(which: (job: StepJob) => boolean, error: AppError): void {
    const gone = this.#waiting.filter(which)
    if (gone.length === 0) return
    this.#waiting = this.#waiting.filter((job) => !which(job))
    for (const job of gone) job.fail(error)
  }

  #undo(job: StepJob): void {
    if (job.group !== undefined) this.#options.cut(job.step.session, job.step.start)
  }

  #learn(picked: readonly Picked[], ms: number): void {
    if (picked.some(({ job }) => job.group === undefined)) return
    let [short, piece] = [0, 0]
    for (const { job, rows } of picked) {
      if (job.short) short += rows
      else piece += rows
    }
    if (piece === 0) this.#cost.observe(short, ms)
    else if (short > 0) this.#cost.observePiece(short, piece, ms)
  }

  /** Stores an owner's turn; the oldest turns are dropped first. */
  #served(owner: string, now: number): void {
    this.#lastServed.delete(owner)
    this.#lastServed.set(owner, now)
    const [oldest] = this.#lastServed.keys()
    if (oldest !== undefined && this.#lastServed.size > MAX_OWNERS) this.#lastServed.delete(oldest)
  }

  #absent(now: number): ReturnType<Habits['absent']> {
    const waiting = new Set(this.#waiting.map(({ session }) => session))
    return this.#habits.absent(now, (session) => waiting.has(session))
  }

  #messages(): Promise<void> {
    return new Promise((resolve) => this.#soon(resolve))
  }
}
