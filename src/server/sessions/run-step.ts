// Hands one step to the scheduler and sends the result: to the client, or to the next server of its
// route. Knows no order of steps and no admission.
import type { Clock } from '../../base/clock.ts'
import { AppError, computeError, internal, toAppError } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { ComputeApi } from '../../blocks/types.ts'
import { decodeTensor, encodeTensor } from '../../wire/tensor.ts'
import type { ServerStatus, Step, WireDtype, WireTensor } from '../../wire/types.ts'
import type { ServerEvents } from '../events.ts'
import type { ServerLink } from '../links.ts'
import { withRoom, type FreeOne } from './last-resort.ts'
import type { Pusher } from './push.ts'
import type { ServedSession } from './sessions.ts'
import type { StepsUnderWay, StepUnderWay } from './steps-under-way.ts'

export interface StepRunnerOptions {
  compute: Pick<ComputeApi, 'step'>
  /** This server's public key, 32 bytes. */
  self: Uint8Array
  steps: StepsUnderWay
  pusher: Pusher
  freeOne: FreeOne
  events: ServerEvents
  clock: Clock
  log: Log
  status: (computeMs: number, queueMs: number) => ServerStatus
  /** Tells the session's owner why a step has no result. */
  refuse: (link: ServerLink, step: Step, error: AppError) => void
}

export class StepRunner {
  readonly #options: StepRunnerOptions

  constructor(options: StepRunnerOptions) {
    this.#options = options
  }

  /** Resolves when the step's bytes are no longer needed; never rejects. */
  async run(served: ServedSession, step: Step): Promise<void> {
    const { steps, clock, log, status, refuse } = this.#options
    const since = clock.now()
    const entry = steps.add(served, step.step)
    try {
      const { hidden, computeMs, queueMs } = await this.#compute(entry, step, since)
      served.length = step.start + step.count
      served.usedAt = clock.now()
      served.tokens += step.count
      this.#options.events.stepped({ count: step.count, computeMs, queueMs })
      this.#deliver(served, step, { hidden, since, status: status(computeMs, queueMs) })
    } catch (error) {
      // Nobody waits for a step that was cancelled before it ran.
      if (entry.signal.aborted && !entry.begun) return
      const failure = toAppError(error)
      if (failure.code === 'INTERNAL') log.error(`a step failed: ${failure.message}`)
      refuse(served.owner, step, failure)
    } finally {
      steps.remove(entry)
    }
  }

  async #compute(
    entry: StepUnderWay,
    step: Step,
    since: number
  ): ReturnType<StepRunnerOptions['compute']['step']> {
    const { compute, freeOne } = this.#options
    const { served, signal } = entry
    // A client may send its first step before it has `opened`.
    if (served.compute === undefined) await served.opening
    const session = served.compute
    if (served.closed || session === undefined) throw gone(served)
    return withRoom(freeOne, () =>
      compute.step(
        {
          session,
          start: step.start,
          count: step.count,
          owner: served.owner.peer,
          hidden: () => this.#begin(entry, step, since)
        },
        signal
      )
    )
  }

  /**
   * Decodes the step's rows when they are about to run: (count, hiddenSize). @throws AppError if
   * they should not run
   */
  #begin(entry: StepUnderWay, step: Step, since: number): Float32Array {
    const { served } = entry
    if (served.closed) throw gone(served)
    if (step.start > served.length) throw gap(served, step)
    const waited = this.#options.clock.now() - since
    if (waited > step.deadlineMs) {
      throw new AppError('TIMEOUT', `The step waited ${Math.round(waited)} ms in the queue`)
    }
    entry.begun = true
    served.length = step.start
    return decodeTensor(step.tensor)
  }

  #deliver(
    served: ServedSession,
    step: Step,
    done: { hidden: Float32Array; since: number; status: ServerStatus }
  ): void {
    if (served.closed) return
    const { self, pusher, clock, refuse } = this.#options
    const { columns, dtype } = step.tensor
    const next = step.route[0]
    const rows = next ? step.count : Math.min(step.count, step.answerRows ?? step.count)
    const answered = done.hidden.subarray((step.count - rows) * columns)
    const tensor = encodeOutput(answered, rows, columns, dtype)
    if (next) {
      const deadlineMs = Math.max(0, step.deadlineMs - (clock.now() - done.since))
      pusher.push(next, { ...step, route: step.route.slice(1), deadlineMs, tensor }, (error) =>
        refuse(served.owner, step, error)
      )
    }
    if (next && !step.mirror) return
    served.owner.result({
      session: step.session,
      step: step.step,
      start: step.start,
      count: step.count,
      end: served.end,
      trace: [{ peer: self, status: done.status }],
      tensor
    })
  }
}

/**
 * @throws AppError UNSUPPORTED for a value over the range of the client's type; COMPUTE for one
 * that is not finite, which is the engine's fault
 */
function encodeOutput(
  values: Float32Array,
  rows: number,
  columns: number,
  dtype: WireDtype
): WireTensor {
  try {
    return encodeTensor(values, rows, columns, dtype)
  } catch (cause) {
    if (toAppError(cause).code === 'UNSUPPORTED') throw cause
    throw computeError(`The step's output cannot be sent: ${toAppError(cause).message}`, { cause })
  }
}

function gone(served: ServedSession): AppError {
  if (served.closed) return new AppError('CLOSED', 'The session is closed')
  return internal('The session is not open in the engine yet')
}

function gap(served: ServedSession, step: Step): AppError {
  return new AppError(
    'NOT_FOUND',
    `The step starts at ${step.start}: the session holds ${served.length} tokens`,
    { retryable: true }
  )
}
