// Sends a step on to the next server of its route, over one remembered connection per peer. Steps
// to one peer keep their order while it is being reached, and are sent again over a new connection
// when the old one turns out to be dead: a server that was restarted is otherwise pushed to in vain
// for 20 s.
import { toHex } from '../../base/bytes.ts'
import { deadline, sleep, type Clock } from '../../base/clock.ts'
import { AppError, disconnected, toAppError, unavailable } from '../../base/errors.ts'
import type { Hop, Step } from '../../wire/types.ts'
import type { Reach, ServerLink } from '../links.ts'

export interface PusherOptions {
  clock: Clock
  /** How long reaching a server may take, ms. Default 5000; the step's own deadline also counts. */
  reachMs?: number
}

/** How often a peer that is pushed to is pinged, and how long it may take to answer, ms. */
const PING_EVERY_MS = 400
const PING_MS = 2_000
/**
 * A ping stands behind what was sent before it: the slowest uplink that is used moves 2 Mbit a
 * second.
 */
const SLOW_BYTES_PER_MS = 250
/** A ping that ran out so much too late says more of this process than of the peer, ms. */
const STALL_MS = 500
/** What is kept of a peer to be sent again: a window of the largest steps. */
const KEPT_BYTES = 16 * 1024 * 1024

interface Push {
  readonly hop: Hop
  readonly step: Step
  readonly onfailure: (error: AppError) => void
  /** Whether it was sent before, over a connection that was dead. */
  readonly again: boolean
  /** Monotonic ms. */
  sentAt: number
}

export class Pusher {
  readonly #reach: Reach
  readonly #clock: Clock
  readonly #reachMs: number
  readonly #closing = new AbortController()
  /** The end of what is under way per peer: a later step does not overtake an earlier one. */
  readonly #tails = new Map<string, Promise<void>>()
  /** By link, what was sent since the last ping that was answered. */
  readonly #unproven = new Map<ServerLink, Push[]>()

  constructor(reach: Reach, options: PusherOptions) {
    this.#reach = reach
    this.#clock = options.clock
    this.#reachMs = options.reachMs ?? 5000
  }

  /** Pushes; `onfailure` is called once when the server cannot be reached. */
  push(hop: Hop, step: Step, onfailure: (error: AppError) => void): void {
    this.#enqueue({ hop, step, onfailure, again: false, sentAt: 0 })
  }

  close(): void {
    this.#closing.abort()
    this.#unproven.clear()
  }

  #enqueue(push: Push): void {
    const key = toHex(push.hop.peer)
    const before = this.#tails.get(key) ?? Promise.resolve()
    const tail = before
      .then(() => this.#send(push))
      .catch((error: unknown) => {
        const cause = toAppError(error)
        const why = `The next server cannot be reached: ${cause.message}`
        push.onfailure(new AppError('UNAVAILABLE', why, { cause }))
      })
      .finally(() => {
        if (this.#tails.get(key) === tail) this.#tails.delete(key)
      })
    this.#tails.set(key, tail)
  }

  /** Resolves when the link takes more: a slow reader holds back who pushes to it. */
  async #send(push: Push): Promise<void> {
    const { hop, step } = push
    const { signal } = this.#closing
    const link = await deadline(
      this.#reach(hop.peer, signal),
      Math.min(this.#reachMs, step.deadlineMs),
      { clock: this.#clock, signal, what: 'Reaching the next server' }
    )
    const hasRoom = link.step(step)
    push.sentAt = this.#clock.now()
    this.#prove(link, push)
    if (hasRoom !== false || !link.drained) return
    // A link that ends while it is full has said so to its sessions' owners by itself.
    await link.drained().catch(() => {})
  }

  /** Keeps a step until the link is known to have lived after it. */
  #prove(link: ServerLink, push: Push): void {
    if (!link.ping) return
    const known = this.#unproven.get(link)
    const pushes = known ?? []
    pushes.push(push)
    while (bytesOf(pushes) > KEPT_BYTES) pushes.shift()
    if (known) return
    this.#unproven.set(link, pushes)
    void this.#watch(link, pushes)
  }

  async #watch(link: ServerLink, pushes: Push[]): Promise<void> {
    const { signal } = this.#closing
    while (pushes.length > 0 && !signal.aborted) {
      const askedAt = this.#clock.now()
      const limitMs = PING_MS + bytesOf(pushes) / SLOW_BYTES_PER_MS
      try {
        await link.ping?.(limitMs)
        const later = pushes.findIndex((push) => push.sentAt > askedAt)
        pushes.splice(0, later < 0 ? pushes.length : later)
        await sleep(PING_EVERY_MS, { clock: this.#clock, signal })
      } catch (error) {
        const { code } = toAppError(error)
        const isLate = this.#clock.now() - askedAt > limitMs + STALL_MS
        if (signal.aborted || code === 'LIMIT' || (code === 'TIMEOUT' && isLate)) continue
        break
      }
    }
    this.#unproven.delete(link)
    if (pushes.length === 0 || signal.aborted) return
    // What is reached next is another link.
    link.destroy?.(disconnected('The peer does not answer'))
    for (const push of pushes) {
      if (push.again) push.onfailure(unavailable('The next server does not answer'))
      else this.#enqueue({ ...push, again: true })
    }
  }
}

function bytesOf(pushes: readonly Push[]): number {
  return pushes.reduce((bytes, { step }) => bytes + step.tensor.data.byteLength, 0)
}
