// Steps that were accepted and not answered yet: limits how many a peer may have waiting, and
// cancels them. Which step runs next is the scheduler's decision; run-step.ts hands them to it.
import { AppError } from '../../base/errors.ts'
import { roomInMs } from './retry-after.ts'
import type { ServedSession } from './sessions.ts'

/** A step on its way through the server. */
export interface StepUnderWay {
  readonly served: ServedSession
  readonly step: number
  readonly signal: AbortSignal
  /** Its rows are part of a run already. */
  begun: boolean
}

export interface StepsUnderWayOptions {
  /** Monotonic ms. */
  now: () => number
  /** A peer with more waiting steps is answered BUSY. Default 128. */
  perPeer?: number | undefined
}

/** Wait that a refused peer is told before any step has shown how long steps take, ms. */
const BUSY_MS = 500
/** Weight of the newest time in the moving average. */
const NEWEST = 0.1

export class StepsUnderWay {
  readonly #options: StepsUnderWayOptions
  readonly #steps = new Map<StepUnderWay, AbortController>()
  /** Time between two answers while steps were always waiting, ms. */
  #msPerStep: number | undefined
  #answeredAt: number | undefined

  constructor(options: StepsUnderWayOptions) {
    this.#options = options
  }

  /** Steps that wait or run. */
  get size(): number {
    return this.#steps.size
  }

  /** @throws AppError BUSY if this peer has too many waiting */
  checkRoom(peer: string): void {
    const { perPeer = 128 } = this.#options
    let waiting = 0
    for (const { served, begun } of this.#steps.keys()) {
      if (!begun && served.owner.peer === peer) waiting++
    }
    if (waiting < perPeer) return
    throw new AppError('BUSY', `The step was refused: ${waiting} steps of this peer wait`, {
      retryAfterMs: roomInMs(waiting, this.#msPerStep) ?? BUSY_MS
    })
  }

  add(served: ServedSession, step: number): StepUnderWay {
    const controller = new AbortController()
    const entry = { served, step, signal: controller.signal, begun: false }
    this.#steps.set(entry, controller)
    return entry
  }

  /** The step was answered, refused or cancelled. */
  remove(entry: StepUnderWay): void {
    this.#steps.delete(entry)
    if (!entry.begun) return
    const now = this.#options.now()
    if (this.#answeredAt !== undefined) {
      const ms = now - this.#answeredAt
      this.#msPerStep = ms * NEWEST + (this.#msPerStep ?? ms) * (1 - NEWEST)
    }
    this.#answeredAt = this.size > 0 ? now : undefined
  }

  /** Whether a session has any. */
  has(served: ServedSession): boolean {
    for (const entry of this.#steps.keys()) if (entry.served === served) return true
    return false
  }

  /** Cancels a session's steps up to a number. */
  cancel(served: ServedSession, upTo: number = Infinity): void {
    for (const [entry, controller] of this.#steps) {
      if (entry.served === served && entry.step <= upTo) controller.abort()
    }
  }

  cancelAll(): void {
    for (const controller of this.#steps.values()) controller.abort()
  }
}
