// Runs one step of the queue in the engine and sends what comes out: to the client, or on to the next
// server of its route. Knows no queue and no admission.
import type { Clock } from '../../base/clock.ts'
import { AppError, computeError, internal, toAppError } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { ComputeApi } from '../../blocks/types.ts'
import { decodeTensor, encodeTensor } from '../../wire/tensor.ts'
import type { ServerStatus, Step, WireDtype, WireTensor } from '../../wire/types.ts'
import type { ServerLink } from '../links.ts'
import type { Pusher } from './push.ts'
import type { ServedSession } from './sessions.ts'
import type { Job } from './step-queue.ts'

export interface StepRunnerOptions {
  compute: Pick<ComputeApi, 'step'>
  /** This server's public key, 32 bytes. */
  self: Uint8Array
  pusher: Pusher
  clock: Clock
  log: Log
  status: (computeMs: number, queueMs: number) => ServerStatus
  /** Tells the session's owner why a step has no answer. */
  refuse: (link: ServerLink, step: Step, error: AppError) => void
}

export class StepRunner {
  readonly #options: StepRunnerOptions

  constructor(options: StepRunnerOptions) {
    this.#options = options
  }

  /** Never rejects. */
  async run(job: Job): Promise<void> {
    const { served, step } = job
    const { compute, clock, log, status, refuse } = this.#options
    const waited = clock.now() - job.since
    try {
      // Nobody need wait for `opened` before the first step.
      if (served.compute === undefined) await served.opening
      if (served.closed || served.compute === undefined) throw gone(served)
      if (step.start > served.length) throw gap(served, step)
      if (waited > step.deadlineMs) {
        throw new AppError('TIMEOUT', `The step waited ${Math.round(waited)} ms in the queue`)
      }
      const controller = new AbortController()
      served.running = controller
      served.length = step.start
      const { hidden, computeMs, queueMs } = await compute.step(
        {
          session: served.compute,
          start: step.start,
          count: step.count,
          hidden: decodeTensor(step.tensor)
        },
        controller.signal
      )
      served.length = step.start + step.count
      served.usedAt = clock.now()
      served.running = undefined
      this.#deliver(job, hidden, status(computeMs, waited + queueMs))
    } catch (error) {
      const failure = toAppError(error)
      if (failure.code === 'INTERNAL') log.error(`a step failed: ${failure.message}`)
      refuse(served.owner, step, failure)
    } finally {
      served.running = undefined
    }
  }

  #deliver(job: Job, hidden: Float32Array, status: ServerStatus): void {
    const { served, step } = job
    if (served.closed) return
    const { self, pusher, clock, refuse } = this.#options
    const next = step.route[0]
    const { columns, dtype } = step.tensor
    const answer = (values: Float32Array, rows: number): void =>
      served.owner.result({
        session: step.session,
        step: step.step,
        start: step.start,
        count: step.count,
        end: served.end,
        trace: [{ peer: self, status }],
        tensor: encodeOutput(values, rows, columns, dtype)
      })
    if (!next) {
      const rows = Math.min(step.count, step.answerRows ?? step.count)
      answer(hidden.subarray((step.count - rows) * columns), rows)
      return
    }
    const deadlineMs = Math.max(0, step.deadlineMs - (clock.now() - job.since))
    const tensor = encodeOutput(hidden, step.count, columns, dtype)
    pusher.push(next, { ...step, route: step.route.slice(1), deadlineMs, tensor }, (error) =>
      refuse(served.owner, step, error)
    )
    if (step.mirror) answer(hidden, step.count)
  }
}

/** @throws AppError COMPUTE: values that cannot travel are the engine's fault, not the client's */
function encodeOutput(
  values: Float32Array,
  rows: number,
  columns: number,
  dtype: WireDtype
): WireTensor {
  try {
    return encodeTensor(values, rows, columns, dtype)
  } catch (cause) {
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
