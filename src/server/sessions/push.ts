// Sends steps to the next server of their route. Steps to one peer wait in a queue while the peer
// is being connected and while its link is full. Order is kept. When a link dies, what it has not
// proven to have delivered is sent again over the next link, first. The queues are bounded, so that
// a peer that reads slowly cannot fill this server's memory. Called by run-step.ts. Knows no
// engine.
import { toHex } from '../../base/bytes.ts'
import { deadline, type Clock } from '../../base/clock.ts'
import { AppError, timedOut, toAppError, unavailable } from '../../base/errors.ts'
import { LIMITS } from '../../wire/protocol.ts'
import type { Hop, Step } from '../../wire/types.ts'
import type { Reach, ServerLink } from '../links.ts'

export interface PusherOptions {
  clock: Clock
  /** Longest time to connect to a server, ms. Default 5000; the step's own deadline also counts. */
  reachMs?: number
}

/**
 * Bytes that may wait for one peer: two of the largest steps. Beyond that the client carries the
 * step itself.
 */
const QUEUE_BYTES = 2 * LIMITS.tensorBytes
/** Bytes kept per peer to be sent again: two of the largest steps. */
const KEPT_BYTES = 2 * LIMITS.tensorBytes
/** Bytes that wait and bytes that are kept, of all peers together. */
const ALL_BYTES = 128 * 1024 * 1024

interface Push {
  readonly hop: Hop
  readonly step: Step
  readonly onfailure: (error: AppError) => void
  /** Monotonic ms when its deadline started. */
  readonly since: number
  /** Whether it was sent before, over a link that died. */
  readonly again: boolean
}

interface Kept {
  readonly push: Push
  /** Monotonic ms. */
  readonly sentAt: number
}

interface PeerQueue {
  waiting: Push[]
  sending: boolean
}

export class Pusher {
  readonly #reach: Reach
  readonly #clock: Clock
  readonly #reachMs: number
  readonly #closing = new AbortController()
  /** By the peer's key in hex. */
  readonly #queues = new Map<string, PeerQueue>()
  /** By link: what was sent and is not known to have arrived. */
  readonly #kept = new Map<ServerLink, Kept[]>()

  constructor(reach: Reach, options: PusherOptions) {
    this.#reach = reach
    this.#clock = options.clock
    this.#reachMs = options.reachMs ?? 5000
  }

  /** Pushes a step. `onfailure` is called once if it cannot be delivered. */
  push(hop: Hop, step: Step, onfailure: (error: AppError) => void): void {
    const push = { hop, step, onfailure, since: this.#clock.now(), again: false }
    const queue = this.#queueOf(hop)
    const bytes = bytesOf([push])
    if (bytesOf(queue.waiting) + bytes > QUEUE_BYTES || this.#allBytes() + bytes > ALL_BYTES) {
      onfailure(unavailable('The next server takes steps too slowly'))
      return
    }
    queue.waiting.push(push)
    void this.#drain(hop)
  }

  /** Drops the waiting steps of a session up to a number. */
  forget(session: Uint8Array, upTo: number = Infinity): void {
    const stays = ({ step }: Push): boolean =>
      step.step > upTo || Buffer.compare(step.session, session) !== 0
    for (const queue of this.#queues.values()) queue.waiting = queue.waiting.filter(stays)
    for (const [link, kept] of this.#kept) {
      this.#kept.set(
        link,
        kept.filter(({ push }) => stays(push))
      )
    }
  }

  close(): void {
    this.#closing.abort()
    this.#queues.clear()
    this.#kept.clear()
  }

  #queueOf({ peer }: Hop): PeerQueue {
    const key = toHex(peer)
    let queue = this.#queues.get(key)
    if (!queue) this.#queues.set(key, (queue = { waiting: [], sending: false }))
    return queue
  }

  #allBytes(): number {
    let bytes = 0
    for (const { waiting } of this.#queues.values()) bytes += bytesOf(waiting)
    for (const kept of this.#kept.values()) bytes += bytesOf(kept.map(({ push }) => push))
    return bytes
  }

  /** Sends what waits for a peer, one step after the other. */
  async #drain(hop: Hop): Promise<void> {
    const queue = this.#queueOf(hop)
    if (queue.sending) return
    queue.sending = true
    while (queue.waiting.length > 0 && !this.#closing.signal.aborted) {
      try {
        await this.#sendNext(hop, queue)
      } catch (error) {
        const cause = toAppError(error)
        const why = `The next server cannot be reached: ${cause.message}`
        queue.waiting.shift()?.onfailure(new AppError('UNAVAILABLE', why, { cause }))
      }
    }
    this.#queues.delete(toHex(hop.peer))
  }

  /** Sends the first waiting step. Resolves when the link accepts more. */
  async #sendNext(hop: Hop, queue: PeerQueue): Promise<void> {
    const { signal } = this.#closing
    const [next] = queue.waiting
    if (!next) return
    const reachMs = Math.min(this.#reachMs, Math.max(0, this.#leftMs(next)))
    const link = await deadline(this.#reach(hop.peer, signal), reachMs, {
      clock: this.#clock,
      signal,
      what: 'Reaching the next server'
    })
    // The queue may have changed meanwhile: steps of a dead link are put first, steps of a closed
    // session are dropped.
    const push = queue.waiting.shift()
    if (!push) return
    const deadlineMs = this.#leftMs(push)
    if (deadlineMs <= 0) {
      push.onfailure(timedOut('The step waited too long for the next server'))
      return
    }
    const hasRoom = link.step({ ...push.step, deadlineMs })
    this.#keep(link, push)
    if (hasRoom !== false || !link.drained) return
    try {
      await link.drained()
    } catch {
      // Nothing else may go to this peer before it.
      this.#sendAgain(link)
    }
  }

  #leftMs({ step, since }: Push): number {
    return step.deadlineMs - (this.#clock.now() - since)
  }

  /** Keeps a step until the link has proven to have delivered it. */
  #keep(link: ServerLink, push: Push): void {
    if (!link.proven) return
    const known = this.#kept.get(link)
    const kept = [...(known ?? []), { push, sentAt: this.#clock.now() }]
    while (bytesOf(kept.map((one) => one.push)) > KEPT_BYTES) kept.shift()
    this.#kept.set(link, kept)
    if (!known) void this.#watch(link)
  }

  /** Waits until everything is delivered. The link itself notices when its peer is gone. */
  async #watch(link: ServerLink): Promise<void> {
    try {
      while (this.#kept.get(link)?.length) {
        const provenAt = (await link.proven?.()) ?? Infinity
        const later = this.#kept.get(link)?.filter(({ sentAt }) => sentAt > provenAt)
        if (!later) return
        this.#kept.set(link, later)
      }
      this.#kept.delete(link)
    } catch {
      this.#sendAgain(link)
    }
  }

  /** A link died: puts what it may not have delivered before what waits. */
  #sendAgain(link: ServerLink): void {
    const pushes = (this.#kept.get(link) ?? []).map(({ push }) => push)
    this.#kept.delete(link)
    if (this.#closing.signal.aborted) return
    for (const push of pushes.filter(({ again }) => again)) {
      push.onfailure(unavailable('The next server does not answer'))
    }
    const fresh = pushes.filter(({ again }) => !again)
    const [first] = fresh
    if (!first) return
    this.#queueOf(first.hop).waiting.unshift(...fresh.map((push) => ({ ...push, again: true })))
    void this.#drain(first.hop)
  }
}

function bytesOf(pushes: readonly Push[]): number {
  return pushes.reduce((bytes, { step }) => bytes + step.tensor.data.byteLength, 0)
}
