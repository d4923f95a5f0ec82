// Sends a step on to the next server of its route, over one remembered connection per peer.
// Steps to one peer keep their order while it is being reached.
import { toHex } from '../base/bytes.ts'
import { deadline, type Clock } from '../base/clock.ts'
import { AppError, toAppError } from '../base/errors.ts'
import type { Hop, Step } from '../wire/types.ts'
import type { Reach } from './links.ts'

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
  /** The end of what is under way per peer: a later step does not overtake an earlier one. */
  readonly #tails = new Map<string, Promise<void>>()

  constructor(reach: Reach, options: PusherOptions) {
    this.#reach = reach
    this.#clock = options.clock
    this.#reachMs = options.reachMs ?? 5000
  }

  /** Pushes; `onfailure` is called once when the server cannot be reached. */
  push(hop: Hop, step: Step, onfailure: (error: AppError) => void): void {
    const key = toHex(hop.peer)
    const before = this.#tails.get(key) ?? Promise.resolve()
    const tail = before
      .then(() => this.#send(hop.peer, step))
      .catch((error: unknown) => {
        const cause = toAppError(error)
        const why = `The next server cannot be reached: ${cause.message}`
        onfailure(new AppError('UNAVAILABLE', why, { cause }))
      })
      .finally(() => {
        if (this.#tails.get(key) === tail) this.#tails.delete(key)
      })
    this.#tails.set(key, tail)
  }

  close(): void {
    this.#closing.abort()
  }

  /** Resolves when the link takes more: a slow reader holds back who pushes to it. */
  async #send(peer: Uint8Array, step: Step): Promise<void> {
    const { signal } = this.#closing
    const link = await deadline(
      this.#reach(peer, signal),
      Math.min(this.#reachMs, step.deadlineMs),
      { clock: this.#clock, signal, what: 'Reaching the next server' }
    )
    if (link.step(step) !== false || !link.drained) return
    // A link that ends while it is full has said so to its sessions' owners by itself.
    await link.drained().catch(() => {})
  }
}
