// Sends a step on to the next server of its route, over one remembered connection per peer.
// Steps to one peer keep their order while it is being reached.
import { toHex } from '../base/bytes.ts'
import { deadline, type Clock } from '../base/clock.ts'
import { AppError, toAppError } from '../base/errors.ts'
import type { Hop, Step } from '../wire/types.ts'
import type { Reach, ServerLink } from './links.ts'

export interface PusherOptions {
  clock: Clock
  /** How long reaching a server may take, ms. Default 5000; the step's own deadline also counts. */
  reachMs?: number
}

export class Pusher {
  readonly #reach: Reach
  readonly #clock: Clock
  readonly #reachMs: number
  readonly #closing = new AbortController()
  /** What is under way per peer, so that a later step does not overtake an earlier one. */
  readonly #reaching = new Map<string, Promise<ServerLink>>()

  constructor(reach: Reach, options: PusherOptions) {
    this.#reach = reach
    this.#clock = options.clock
    this.#reachMs = options.reachMs ?? 5000
  }

  /** Pushes; `onfailure` is called once when the server cannot be reached. */
  push(hop: Hop, step: Step, onfailure: (error: AppError) => void): void {
    this.#link(hop.peer, step.deadlineMs).then(
      (link) => link.step(step),
      (error: unknown) => {
        const cause = toAppError(error)
        onfailure(
          new AppError('UNAVAILABLE', `The next server cannot be reached: ${cause.message}`, {
            cause
          })
        )
      }
    )
  }

  close(): void {
    this.#closing.abort()
  }

  #link(peer: Uint8Array, deadlineMs: number): Promise<ServerLink> {
    const key = toHex(peer)
    const known = this.#reaching.get(key)
    if (known) return known
    const { signal } = this.#closing
    const link = deadline(this.#reach(peer, signal), Math.min(this.#reachMs, deadlineMs), {
      clock: this.#clock,
      signal,
      what: 'Reaching the next server'
    }).finally(() => this.#reaching.delete(key))
    this.#reaching.set(key, link)
    return link
  }
}
