// One step, or rows for a head, on its way through the scheduler, computed piece by piece. Knows no
// engine and no policy.
import { badInput, type AppError } from '../../base/errors.ts'
import { SHORT_ROWS, type WaitingStep } from './schedule.ts'

/**
 * A step to be scheduled. `hidden` may be made when the first rows run, so that waiting steps hold
 * no floats.
 */
export interface ScheduledStep {
  /** Owners take turns. Default: one owner for all that name none. */
  readonly owner?: string | undefined
  readonly session: number
  /** Position of the first row. */
  readonly start: number
  readonly count: number
  /** (count, width), transferred. If it is a function, the step fails with what that throws. */
  readonly hidden: Float32Array | (() => Float32Array)
}

export interface StepAnswer {
  /** (count, width) */
  readonly hidden: Float32Array
  /** Time of all runs that contained rows of the step, ms. */
  readonly computeMs: number
}

/** Rows of one step in a run. */
export interface RunPiece {
  readonly session: number
  readonly start: number
  /** End of the whole step: the first piece allocates memory up to there. */
  readonly end: number
  /** (rows, width), in a buffer of its own. */
  readonly hidden: Float32Array
}

export class StepJob implements WaitingStep {
  readonly owner: string
  readonly session: string
  readonly group: string | undefined
  readonly since: number
  readonly short: boolean
  readonly step: ScheduledStep
  readonly answer: Promise<StepAnswer>
  /** Whether no more of its rows will run. */
  settled = false
  readonly #resolve: (answer: StepAnswer) => void
  readonly #reject: (error: AppError) => void
  #hidden: Float32Array | undefined
  #result: Float32Array | undefined
  #done = 0
  #computeMs = 0

  constructor(step: ScheduledStep, group: string | undefined, since: number) {
    const { promise, resolve, reject } = Promise.withResolvers<StepAnswer>()
    this.step = step
    this.owner = step.owner ?? ''
    this.session = group === undefined ? `head ${step.session}` : `session ${step.session}`
    this.group = group
    this.since = since
    this.short = step.count <= SHORT_ROWS
    this.answer = promise
    this.#resolve = resolve
    this.#reject = reject
  }

  get rows(): number {
    return this.step.count - this.#done
  }

  /** Whether some rows of it have run. */
  get begun(): boolean {
    return this.#done > 0
  }

  /** The next rows. @throws what making `hidden` throws; AppError BAD_INPUT */
  take(rows: number): RunPiece {
    const { session, start, count, hidden } = this.step
    this.#hidden ??= typeof hidden === 'function' ? hidden() : hidden
    const width = this.#hidden.length / count
    if (!Number.isInteger(width) || width === 0) {
      throw badInput(`A step of ${count} rows cannot run: ${this.#hidden.length} values were given`)
    }
    const whole = rows === count && this.#hidden.byteLength === this.#hidden.buffer.byteLength
    const from = this.#done * width
    const piece = whole ? this.#hidden : this.#hidden.slice(from, from + rows * width)
    return { session, start: start + this.#done, end: start + count, hidden: piece }
  }

  /** Its next rows have run. The answer is sent after the last. */
  ran(output: Float32Array, rows: number, computeMs: number): void {
    this.#computeMs += computeMs
    if (rows === this.step.count) return this.#finish(output)
    const width = output.length / rows
    this.#result ??= new Float32Array(this.step.count * width)
    this.#result.set(output, this.#done * width)
    this.#done += rows
    if (this.rows === 0) this.#finish(this.#result)
  }

  fail(error: AppError): void {
    this.settled = true
    this.#hidden = undefined
    this.#reject(error)
  }

  #finish(hidden: Float32Array): void {
    this.#done = this.step.count
    this.settled = true
    this.#resolve({ hidden, computeMs: this.#computeMs })
  }
}
