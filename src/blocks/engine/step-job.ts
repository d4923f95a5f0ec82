// One step on its way through the engine: its rows are computed piece by piece, alone or beside other
// sessions' rows. Knows its session, not who runs when: job-queue.ts decides that.
import type { Pointer } from 'bun:ffi'
import type { Clock } from '../../base/clock.ts'
import { toAppError, type AppError } from '../../base/errors.ts'
import type { BatchPart } from './batch.ts'
import type { Session } from './session.ts'
import type { StepInput } from '../types.ts'

export interface StepAnswer {
  hidden: Float32Array
  computeMs: number
}

/** What a piece of a step came to; undefined: more is to be computed. */
export type StepOutcome =
  | { readonly answer: StepAnswer; readonly error?: undefined }
  | { readonly error: AppError; readonly answer?: undefined }
  | undefined

export interface StepJobOptions {
  input: StepInput
  /** Options of runs that it makes alone. */
  run: Pointer | null
  /** Rows of a piece when nobody says. */
  chunkRows: number
  clock: Clock
  /** @throws AppError NOT_FOUND when it was closed */
  session: () => Session
}

/** Rows of one step for a run together with others. */
export interface StepShare {
  readonly job: StepJob
  readonly rows: number
}

export class StepJob {
  readonly #options: StepJobOptions
  readonly #result: Float32Array
  #begun = false
  #done = 0
  #computeMs = 0

  constructor(options: StepJobOptions) {
    this.#options = options
    this.#result = new Float32Array(options.input.hidden.length)
  }

  /** Rows that are still to be computed. */
  get rowsLeft(): number {
    return this.#options.input.count - this.#done
  }

  /** Throws when the session was closed meanwhile. */
  get session(): Session {
    return this.#options.session()
  }

  /** Runs `rows` more rows by themselves; the answer after the last. */
  next(rows: number = this.#options.chunkRows): StepAnswer | undefined {
    const { run, clock } = this.#options
    const began = clock.now()
    const { session, hidden, result } = this.begin(rows)
    try {
      session.run(hidden, result, run)
    } catch (error) {
      this.stop()
      throw error
    }
    return this.ran(rows, clock.now() - began)
  }

  /** The next rows, checked when they are the first, as steps before may change the session. @throws AppError */
  begin(rows: number): BatchPart {
    const { input } = this.#options
    const { session } = this
    if (!this.#begun) session.begin(input.start, input.count, input.hidden.length)
    this.#begun = true
    const width = input.hidden.length / input.count
    const end = Math.min(input.count, this.#done + rows)
    const range = [this.#done * width, end * width] as const
    return {
      session,
      hidden: input.hidden.subarray(...range),
      result: this.#result.subarray(...range)
    }
  }

  /** Its next rows have been computed. */
  ran(rows: number, computeMs: number): StepAnswer | undefined {
    this.#done = Math.min(this.#options.input.count, this.#done + rows)
    this.#computeMs += computeMs
    return this.rowsLeft === 0 ? { hidden: this.#result, computeMs: this.#computeMs } : undefined
  }

  /** Takes back what it has added to its session. */
  stop(): void {
    if (this.#begun) this.session.cut(this.#options.input.start)
  }
}

/** Runs each share by itself. */
export function runApart(shares: readonly StepShare[]): StepOutcome[] {
  return shares.map(({ job, rows }) => attempt(() => job.next(rows)))
}

/** Runs parts in one graph; what went wrong with each, or undefined where there is no graph for so many. */
export type RunAtOnce = (
  parts: readonly [BatchPart, ...BatchPart[]]
) => (AppError | undefined)[] | undefined

/**
 * Runs the shares at once where there is a graph for so many, else one by one. What goes wrong with one
 * of them is its own outcome; when the whole run fails, each runs again by itself.
 */
export function runTogether(
  shares: readonly StepShare[],
  clock: Clock,
  atOnce: RunAtOnce
): StepOutcome[] {
  const began = clock.now()
  const outcomes = new Map<StepShare, StepOutcome>()
  const parts = new Map<StepShare, BatchPart>()
  for (const share of shares) {
    const refused = attempt(() => void parts.set(share, share.job.begin(share.rows)))
    if (refused) outcomes.set(share, refused)
  }
  const going = [...parts.keys()]
  const failures = ranAtOnce([...parts.values()], atOnce)
  const computeMs = clock.now() - began
  const apart = failures === undefined ? runApart(going) : []
  for (const [index, share] of going.entries()) {
    const failure = failures?.[index]
    if (failures === undefined) outcomes.set(share, apart[index])
    else if (failure === undefined) {
      const answer = share.job.ran(share.rows, computeMs)
      outcomes.set(share, answer && { answer })
    } else {
      share.job.stop()
      outcomes.set(share, { error: failure })
    }
  }
  return shares.map((share) => outcomes.get(share))
}

/** What went wrong with each part; undefined when they must run one by one. */
function ranAtOnce(
  parts: readonly BatchPart[],
  atOnce: RunAtOnce
): (AppError | undefined)[] | undefined {
  const [first, ...others] = parts
  if (first === undefined || others.length === 0) return undefined
  try {
    return atOnce([first, ...others])
  } catch {
    // Whose fault it was shows when each runs by itself.
    return undefined
  }
}

function attempt(run: () => StepAnswer | void): StepOutcome {
  try {
    const answer = run()
    return answer ? { answer } : undefined
  } catch (error) {
    return { error: toAppError(error) }
  }
}
