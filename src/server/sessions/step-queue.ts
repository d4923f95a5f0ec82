// Steps that wait for the engine or are in it: how many a peer may have waiting, who goes, what is forgotten.
// Knows no engine and no wire: block-server.ts says what running a job means.
import type { Clock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import type { Step } from '../../wire/types.ts'
import { roomInMs } from './retry-after.ts'
import { pickBatch, type BatchLimits, type Waiting } from './schedule.ts'
import type { ServedSession } from './sessions.ts'

/** A step on its way through the server. */
export interface Job extends Waiting {
  readonly served: ServedSession
  readonly step: Step
  /** Its bytes are held for nobody any more. */
  readonly leave: () => void
}

export interface StepQueueOptions {
  clock: Clock
  /** Waiting steps of one peer over which it is told BUSY. Default 128. */
  perPeer?: number | undefined
  /** What goes to the engine at once. */
  limits?: BatchLimits | undefined
  /** Never rejects: what goes wrong is told to the job's owner. */
  run: (job: Job) => Promise<void>
}

/** What a peer is told that has too many waiting, until steps have shown how long they take. */
const BUSY_MS = 500
/** Weight of the newest in the average. */
const NEWEST = 0.1

export class StepQueue {
  readonly #clock: Clock
  readonly #perPeer: number
  readonly #run: StepQueueOptions['run']
  readonly #lastServed = new Map<string, number>()
  #waiting: Job[] = []
  readonly #limits: BatchLimits
  /** By session: each has one step in the engine. */
  readonly #running = new Map<string, Job>()
  /** Between two answers while there was always one to come, ms. */
  #msPerStep: number | undefined
  #answeredAt: number | undefined
  #stopped = false

  constructor(options: StepQueueOptions) {
    this.#clock = options.clock
    this.#perPeer = options.perPeer ?? 128
    this.#run = options.run
    this.#limits = options.limits ?? {}
  }

  /** Steps that wait or run. */
  get size(): number {
    return this.#waiting.length + this.#running.size
  }

  /** @throws AppError BUSY when this peer has too many waiting */
  checkRoom(peer: string): void {
    const waiting = this.#waiting.filter((job) => job.peer === peer).length
    if (waiting < this.#perPeer) return
    throw new AppError('BUSY', `The step was refused: ${waiting} steps of this peer wait`, {
      retryAfterMs: roomInMs(waiting, this.#msPerStep) ?? BUSY_MS
    })
  }

  /** Resolves when the step's bytes are let go. */
  push(served: ServedSession, step: Step): Promise<void> {
    const held = Promise.withResolvers<void>()
    this.#waiting.push({
      peer: served.owner.peer,
      session: served.key,
      count: step.count,
      since: this.#clock.now(),
      served,
      step,
      leave: held.resolve
    })
    this.#pump()
    return held.promise
  }

  /** Forgets steps of a session up to a number, and aborts what runs of them. */
  cancel(served: ServedSession, upTo: number): void {
    this.forget((job) => job.served === served && job.step.step <= upTo)
    const running = this.#running.get(served.key)
    if (running?.served === served && running.step.step <= upTo) served.running?.abort()
  }

  forget(which: (job: Job) => boolean): void {
    const gone = this.#waiting.filter(which)
    if (gone.length === 0) return
    this.#waiting = this.#waiting.filter((job) => !which(job))
    for (const job of gone) job.leave()
  }

  /** A peer that has no sessions here any more. */
  forgetPeer(peer: string): void {
    this.#lastServed.delete(peer)
  }

  /** Forgets all that waits and starts nothing more. */
  stop(): void {
    this.#stopped = true
    this.forget(() => true)
  }

  #pump(): void {
    if (this.#stopped || this.#waiting.length === 0) return
    const now = this.#clock.now()
    const state = { running: [...this.#running.values()], lastServed: this.#lastServed, now }
    const picked = new Set(
      pickBatch(this.#waiting, state, this.#limits).flatMap((index) => this.#waiting[index] ?? [])
    )
    if (picked.size === 0) return
    this.#waiting = this.#waiting.filter((job) => !picked.has(job))
    for (const job of picked) {
      this.#running.set(job.session, job)
      this.#lastServed.set(job.peer, now)
      void this.#run(job).finally(() => this.#ran(job))
    }
  }

  #ran(job: Job): void {
    this.#running.delete(job.session)
    job.leave()
    const now = this.#clock.now()
    if (this.#answeredAt !== undefined) {
      const ms = now - this.#answeredAt
      this.#msPerStep = ms * NEWEST + (this.#msPerStep ?? ms) * (1 - NEWEST)
    }
    this.#pump()
    this.#answeredAt = this.size > 0 ? now : undefined
  }
}
