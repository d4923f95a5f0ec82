// Work that gives way to steps: training. It is done in slices; a slice ends when a step comes, and
// while steps keep coming, work still gets a short slice now and then. Knows no engine.
import type { Clock } from '../../base/clock.ts'
import { cancelled, toAppError, type AppError } from '../../base/errors.ts'

/** Work that had no turn for so long gets a slice although steps wait, ms. */
const PATIENCE_MS = 500
/** How long such a slice may take before it is asked to end, ms. */
const SLICE_MS = 20

interface Job {
  readonly slice: () => Promise<object | undefined>
  readonly done: PromiseWithResolvers<object>
  isSettled: boolean
}

export class Background {
  readonly #clock: Clock
  readonly #stop: () => void
  #jobs: Job[] = []
  #running: Job | undefined
  #lastTurn = -Infinity

  /** `stop` asks the slice under way to end. */
  constructor(clock: Clock, stop: () => void) {
    this.#clock = clock
    this.#stop = stop
  }

  get size(): number {
    return this.#jobs.length
  }

  /** Work in the order in which it came; `slice` comes to nothing when it was stopped. */
  async add<T extends object>(
    slice: () => Promise<T | undefined>,
    signal?: AbortSignal
  ): Promise<T> {
    if (signal?.aborted) throw cancelled('The training step was cancelled')
    const job: Job = { slice, done: Promise.withResolvers<object>(), isSettled: false }
    const onabort = (): void => this.#end(job, cancelled('The training step was cancelled'))
    signal?.addEventListener('abort', onabort, { once: true })
    if (this.#jobs.length === 0) this.#lastTurn = this.#clock.now()
    this.#jobs.push(job)
    try {
      return (await job.done.promise) as T
    } finally {
      signal?.removeEventListener('abort', onabort)
    }
  }

  /** A step has come: the slice under way should end. */
  yield(): void {
    if (this.#running !== undefined) this.#stop()
  }

  /** Does a slice, unless steps wait and work had its turn lately. */
  async turn(stepsWait: boolean): Promise<void> {
    const [job] = this.#jobs
    if (job === undefined) return
    if (stepsWait && this.#clock.now() - this.#lastTurn < PATIENCE_MS) return
    this.#running = job
    const stopTimer = stepsWait ? this.#clock.after(SLICE_MS, () => this.#stop()) : () => {}
    try {
      const result = await job.slice()
      if (result !== undefined) this.#settle(job, () => job.done.resolve(result))
    } catch (error) {
      this.#settle(job, () => job.done.reject(toAppError(error)))
    } finally {
      stopTimer()
      this.#running = undefined
      this.#lastTurn = this.#clock.now()
    }
  }

  close(error: AppError): void {
    for (const job of this.#jobs.slice()) this.#end(job, error)
  }

  #end(job: Job, error: AppError): void {
    if (this.#running === job) this.#stop()
    this.#settle(job, () => job.done.reject(error))
  }

  #settle(job: Job, settle: () => void): void {
    this.#jobs = this.#jobs.filter((one) => one !== job)
    if (job.isSettled) return
    job.isSettled = true
    settle()
  }
}
