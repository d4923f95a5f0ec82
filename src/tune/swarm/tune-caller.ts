// Training calls over links, and their answers put together from pieces. Knows no blocks and no
// route: train-swarm.ts decides who is called.
import type { Clock } from '../../base/clock.ts'
import { cancelled, disconnected, timedOut, toAppError, type AppError } from '../../base/errors.ts'
import { decodeMessage, encodeMessage } from '../../wire/codec/encode.ts'
import { answerCodec, callCodec } from '../../wire/codec/tune.ts'
import { fromWire } from '../../wire/peer-error.ts'
import { Pieces, piecesOf } from '../../wire/pieces.ts'
import { LIMITS } from '../../wire/protocol.ts'
import type { Tune, TuneAnswer, TuneCall, Tuned } from '../../wire/types.ts'

/** The part of a connection that calls use. */
export interface CallLink {
  readonly peer: string
  readonly closed: boolean
  /** False when many bytes wait: then drained(). */
  tune(message: Tune): boolean
  drained(): Promise<void>
  /** Watches the peer until the returned function is called: a silent one's link ends. */
  awaited(): () => void
}

interface Pending {
  readonly link: CallLink
  readonly pieces: Pieces
  readonly answer: PromiseWithResolvers<TuneAnswer>
}

/** Beside what the server was told: the way there and back. */
const MARGIN_MS = 10_000

export class TuneCaller {
  readonly #clock: Clock
  readonly #pending = new Map<number, Pending>()
  #request = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @throws AppError as the server refuses, TIMEOUT, DISCONNECTED, PROTOCOL, CANCELLED */
  async call(link: CallLink, call: TuneCall, signal?: AbortSignal): Promise<TuneAnswer> {
    const request = ++this.#request
    const answer = Promise.withResolvers<TuneAnswer>()
    this.#pending.set(request, { link, pieces: new Pieces(LIMITS.callBytes), answer })
    const fail = (error: AppError): void => answer.reject(error)
    const onabort = (): void => fail(cancelled('The training step was cancelled'))
    signal?.addEventListener('abort', onabort, { once: true })
    const stopTimer = this.#clock.after(call.deadlineMs + MARGIN_MS, () => {
      fail(timedOut(`Server ${link.peer.slice(0, 8)} does not answer a training step`))
    })
    const unwatch = link.awaited()
    let isAnswered = false
    try {
      if (signal?.aborted) throw cancelled('The training step was cancelled')
      // What breaks while it is sent is the call's end, too.
      this.#send(link, request, encodeMessage(callCodec, call)).catch((error: unknown) =>
        fail(toAppError(error))
      )
      const found = await answer.promise
      isAnswered = true
      return found
    } finally {
      unwatch()
      stopTimer()
      signal?.removeEventListener('abort', onabort)
      this.#pending.delete(request)
      if (!isAnswered && !link.closed) {
        link.tune({ request, left: 0, data: new Uint8Array(0), cancel: true })
      }
    }
  }

  /** For the links of a node. */
  ontuned(link: object, message: Tuned): void {
    const pending = this.#pending.get(message.request)
    // Answers to calls that were given up may still come.
    if (pending === undefined || pending.link !== link) return
    try {
      if (message.failure !== undefined) throw fromWire(message.failure)
      const whole = pending.pieces.add(message)
      if (whole !== undefined) pending.answer.resolve(decodeMessage(answerCodec, whole))
    } catch (error) {
      pending.answer.reject(toAppError(error))
    }
  }

  onclosed(link: object, error: AppError): void {
    for (const pending of this.#pending.values()) {
      if (pending.link !== link) continue
      pending.answer.reject(disconnected(`The server went away: ${error.message}`))
    }
  }

  async #send(link: CallLink, request: number, bytes: Uint8Array): Promise<void> {
    for (const piece of piecesOf(bytes, LIMITS.tuneBytes)) {
      if (!this.#pending.has(request)) return
      if (link.closed) throw disconnected('The server went away')
      if (!link.tune({ request, ...piece })) await link.drained()
    }
  }
}
