// Reaches peers by their keys: one attempt per peer at a time, shared by all who ask, ended by
// whichever link to that peer says hello first. Makes streams; node.ts makes links of them.
import type DHT from 'hyperdht'
import { deadline, type Clock } from '../base/clock.ts'
import { busy, closed, disconnected, timedOut, type AppError } from '../base/errors.ts'
import type { PeerLink } from '../wire/link.ts'
import type { NamedModel } from './private/capability.ts'
import type { Identity } from './identity.ts'

export interface ConnectOptions {
  signal?: AbortSignal | undefined
  /** How long to wait, ms. Default 5000. */
  timeoutMs?: number
  /** In a private swarm, a model that the peer's invite must permit it to serve. */
  serves?: NamedModel | undefined
}

export interface DialerOptions {
  dht: DHT
  clock: Clock
  identity: Identity
  relayThrough: Uint8Array | null
  /** Makes a link of a stream that is being connected. */
  open: (stream: DHT.Connection) => PeerLink
}

/**
 * An attempt ends after this, whoever still waits: punching through a random NAT took up to 11 s.
 */
export const ATTEMPT_MS = 30_000
/**
 * Attempts at a time: routes name peers, and a hostile one could name thousands that do not exist.
 */
const MAX_ATTEMPTS = 64
/** hyperdht's words for: only a relay will do. */
const PUNCH_FAILURES: ReadonlySet<string> = new Set([
  'HOLEPUNCH_ABORTED',
  'HOLEPUNCH_DOUBLE_RANDOMIZED_NATS',
  'CANNOT_HOLEPUNCH',
  'REMOTE_NOT_HOLEPUNCHABLE'
])

interface Attempt {
  readonly reached: PromiseWithResolvers<PeerLink>
  link: PeerLink | undefined
  stop: () => void
}

export class Dialer {
  readonly #options: DialerOptions
  readonly #attempts = new Map<string, Attempt>()

  constructor(options: DialerOptions) {
    this.#options = options
  }

  /** @throws AppError TIMEOUT, DISCONNECTED, CANCELLED, BUSY or CLOSED */
  connect(id: string, peer: Uint8Array, options: ConnectOptions): Promise<PeerLink> {
    const { clock } = this.#options
    const { signal, timeoutMs = 5000 } = options
    if (!this.#attempts.has(id) && this.#attempts.size >= MAX_ATTEMPTS) {
      throw busy(`The peer cannot be reached now: ${MAX_ATTEMPTS} others are being tried`)
    }
    const attempt = this.#attempts.get(id) ?? this.#start(id, peer)
    const what = `Connecting to peer ${id.slice(0, 8)}`
    return deadline(attempt.reached.promise, timeoutMs, { clock, signal, what })
  }

  /** A link said hello; an attempt at the same peer has reached it, by whichever way. */
  onready(link: PeerLink): void {
    const attempt = this.#attempts.get(link.peer)
    if (!attempt) return
    this.#end(link.peer, attempt)
    attempt.reached.resolve(link)
  }

  close(): void {
    for (const [id, attempt] of this.#attempts) {
      this.#fail(id, attempt, closed('The swarm node was closed'))
    }
  }

  #start(id: string, peer: Uint8Array): Attempt {
    const { clock, dht, relayThrough } = this.#options
    const attempt: Attempt = {
      reached: Promise.withResolvers<PeerLink>(),
      link: undefined,
      stop: clock.after(
        ATTEMPT_MS,
        () => this.#fail(id, attempt, timedOut(`Peer ${id.slice(0, 8)} does not answer`)),
        true
      )
    }
    // All who asked may have left before it fails.
    attempt.reached.promise.catch(() => {})
    this.#attempts.set(id, attempt)
    this.#dial(id, peer, attempt, dht.randomized ? relayThrough : null)
    return attempt
  }

  #dial(id: string, peer: Uint8Array, attempt: Attempt, relay: Uint8Array | null): void {
    const { dht, identity, relayThrough, open } = this.#options
    const stream = dht.connect(Buffer.from(peer), { keyPair: identity, relayThrough: relay })
    let error: (Error & { code?: string }) | undefined
    stream.on('error', (thrown) => (error = thrown))
    stream.on('close', () => {
      if (this.#attempts.get(id) !== attempt) return
      if (relayThrough && !relay && PUNCH_FAILURES.has(error?.code ?? '')) {
        return this.#dial(id, peer, attempt, relayThrough)
      }
      const why = error?.message ?? 'it closed the connection'
      const text = `Peer ${id.slice(0, 8)} cannot be reached: ${why}`
      this.#fail(id, attempt, disconnected(text, { cause: error }))
    })
    const link = open(stream)
    attempt.link = link
    // Refused by the peer: its code says more than the end of the stream, which is what any
    // DISCONNECTED here comes from, and then the listener above decides.
    link.ready().catch((refused: AppError) => {
      if (refused.code !== 'DISCONNECTED') this.#fail(id, attempt, refused)
    })
  }

  #fail(id: string, attempt: Attempt, error: AppError): void {
    if (this.#attempts.get(id) !== attempt) return
    this.#end(id, attempt)
    attempt.reached.reject(error)
    attempt.link?.destroy(error)
  }

  #end(id: string, attempt: Attempt): void {
    attempt.stop()
    if (this.#attempts.get(id) === attempt) this.#attempts.delete(id)
  }
}
