// Sends requests for weights over links and puts the answers together from their pieces. Knows no
// files. Memory for an answer is allocated when its first piece tells its length, which must be
// within what was requested.
import type { Clock } from '../base/clock.ts'
import {
  busy,
  cancelled,
  disconnected,
  notFound,
  protocolError,
  timedOut,
  unavailable,
  type AppError
} from '../base/errors.ts'
import type { LinkHandlers, PeerLink } from '../wire/link.ts'
import { WANTS, type Give } from '../wire/types.ts'

export interface Question {
  what: (typeof WANTS)[number]
  name: string
  start?: number
  count?: number
}

export interface AskOptions {
  /** Largest answer, bytes. */
  maxBytes: number
  signal?: AbortSignal | undefined
}

/** Requests to a peer fail after so long without a piece: a busy uplink sends one a second. */
const SILENCE_MS = 10_000

const REFUSALS: Readonly<Record<string, typeof busy>> = { BUSY: busy, NOT_FOUND: notFound }

interface Pending {
  readonly link: PeerLink
  readonly maxBytes: number
  readonly answer: PromiseWithResolvers<Uint8Array>
  bytes: Uint8Array | undefined
  filled: number
  stopTimer: () => void
}

export class WeightAsker {
  /** Handlers for the links of a node. */
  readonly handlers: Required<Pick<LinkHandlers, 'ongive' | 'onclosed'>>
  readonly #clock: Clock
  readonly #silenceMs: number
  readonly #pending = new Map<number, Pending>()
  #request: number

  /** @param lastRequest each asker of a node has numbers of its own: all hear all answers */
  constructor(clock: Clock, silenceMs: number = SILENCE_MS, lastRequest = 0) {
    this.#clock = clock
    this.#silenceMs = silenceMs
    this.#request = lastRequest
    this.handlers = {
      ongive: (link, message) => this.#ongive(link, message),
      onclosed: (link, error) => this.#onclosed(link, error)
    }
  }

  /** @throws AppError as the peer refuses, TIMEOUT, DISCONNECTED, PROTOCOL, CANCELLED */
  async ask(link: PeerLink, question: Question, options: AskOptions): Promise<Uint8Array> {
    const { maxBytes, signal } = options
    if (link.closed) throw disconnected('The peer went away')
    const request = ++this.#request
    const pending: Pending = {
      link,
      maxBytes,
      answer: Promise.withResolvers(),
      bytes: undefined,
      filled: 0,
      stopTimer: () => {}
    }
    this.#pending.set(request, pending)
    this.#restart(request, pending)
    const onabort = (): void => this.#fail(request, cancelled('Asking a peer was cancelled'))
    signal?.addEventListener('abort', onabort, { once: true })
    try {
      if (signal?.aborted) onabort()
      else {
        const { what, name, start = 0, count = 0 } = question
        link.want({ request, what: WANTS.indexOf(what), name, start, count })
      }
      return await pending.answer.promise
    } finally {
      signal?.removeEventListener('abort', onabort)
      pending.stopTimer()
      this.#pending.delete(request)
    }
  }

  #restart(request: number, pending: Pending): void {
    pending.stopTimer()
    pending.stopTimer = this.#clock.after(this.#silenceMs, () => {
      this.#fail(request, timedOut(`Peer ${pending.link.peer.slice(0, 8)} gives no weights`))
    })
  }

  #ongive(link: PeerLink, { request, left, data, refused }: Give): void {
    const pending = this.#pending.get(request)
    // Pieces of a request that was given up may still come.
    if (pending?.link !== link) return
    if (refused !== undefined) {
      const make = REFUSALS[refused] ?? unavailable
      return this.#fail(request, make(`Peer ${link.peer.slice(0, 8)} does not give it: ${refused}`))
    }
    const total = pending.filled + data.byteLength + left
    const isFirst = pending.bytes === undefined
    const isBad = isFirst ? total > pending.maxBytes : total !== pending.bytes?.byteLength
    if (isBad || (data.byteLength === 0 && left > 0)) {
      return this.#fail(request, protocolError('The peer gives other than it was asked for'))
    }
    pending.bytes ??= new Uint8Array(total)
    pending.bytes.set(data, pending.filled)
    pending.filled += data.byteLength
    if (left === 0) pending.answer.resolve(pending.bytes)
    this.#heard(link)
  }

  /** The peer is sending: the other requests to it wait for their turn. */
  #heard(link: PeerLink): void {
    for (const [request, pending] of this.#pending) {
      if (pending.link === link) this.#restart(request, pending)
    }
  }

  #onclosed(link: PeerLink, error: AppError): void {
    for (const [request, pending] of this.#pending) {
      if (pending.link === link) {
        this.#fail(request, disconnected(`The peer went away: ${error.message}`))
      }
    }
  }

  #fail(request: number, error: AppError): void {
    this.#pending.get(request)?.answer.reject(error)
  }
}
