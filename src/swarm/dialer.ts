// Reaches peers by their keys: one attempt per peer at a time, shared by all who ask, ended by
// whichever link to that peer says hello first. Where a NAT gives each destination another port,
// many packets must be sent to find one: hyperdht does that for one peer at a time and refuses the
// others, so these wait here for their turn. Makes streams; node.ts makes links of them.
import type DHT from 'hyperdht'
import type { Clock } from '../base/clock.ts'
import { busy, cancelled, closed, disconnected, timedOut, type AppError } from '../base/errors.ts'
import type { PeerLink } from '../wire/link.ts'
import type { NamedModel } from './private/capability.ts'
import type { Identity } from './identity.ts'

export interface ConnectOptions {
  signal?: AbortSignal | undefined
  /** How long to wait, ms; longer while NATs are punched for this peer. Default 5000. */
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
/** And after this when it had to wait for its turn: a route has a few such servers at most. */
const MOST_MS = 120_000
/**
 * Attempts at a time: routes name peers, and a hostile one could name thousands that do not exist.
 */
const MAX_ATTEMPTS = 64
/**
 * Between two punches through random NATs: each fills a router's table with hundreds of entries.
 */
export const PUNCH_EVERY_MS = 2_000
/** hyperdht's FIREWALL.RANDOM. */
const RANDOM = 3
/** hyperdht's words for: only a relay will do. */
const NAT_FAILURES: ReadonlySet<string> = new Set([
  'HOLEPUNCH_DOUBLE_RANDOMIZED_NATS',
  'CANNOT_HOLEPUNCH',
  'REMOTE_NOT_HOLEPUNCHABLE',
  'REMOTE_NOT_HOLEPUNCHING',
  'HOLEPUNCH_PROBE_TIMEOUT'
])
/** And for: somebody else is being punched for, here or there. */
const BUSY_FAILURES: ReadonlySet<string> = new Set(['HOLEPUNCH_ABORTED', 'REMOTE_ABORTED'])
const GONE_FAILURES: ReadonlySet<string> = new Set(['PEER_NOT_FOUND', 'PEER_CONNECTION_FAILED'])

type DialError = Error & { code?: string }

interface Attempt {
  readonly id: string
  readonly peer: Uint8Array
  readonly reached: PromiseWithResolvers<PeerLink>
  readonly beganAt: number
  link: PeerLink | undefined
  /** One of the two NATs is random: it takes its time, and its turn. */
  isRandom: boolean
  relay: Uint8Array | null
  stop: () => void
}

export class Dialer {
  readonly #options: DialerOptions
  readonly #attempts = new Map<string, Attempt>()
  /** Whose turn it is to be punched for. */
  #punching: Attempt | undefined
  readonly #waiting: Attempt[] = []
  #stopNext: () => void = () => {}

  constructor(options: DialerOptions) {
    this.#options = options
  }

  /** @throws AppError TIMEOUT, DISCONNECTED, CANCELLED, BUSY or CLOSED */
  connect(id: string, peer: Uint8Array, options: ConnectOptions): Promise<PeerLink> {
    const { timeoutMs = 5000, signal } = options
    if (!this.#attempts.has(id) && this.#attempts.size >= MAX_ATTEMPTS) {
      throw busy(`The peer cannot be reached now: ${MAX_ATTEMPTS} others are being tried`)
    }
    return this.#patiently(this.#attempts.get(id) ?? this.#start(id, peer), timeoutMs, signal)
  }

  /** A link said hello; an attempt at the same peer has reached it, by whichever way. */
  onready(link: PeerLink): void {
    const attempt = this.#attempts.get(link.peer)
    if (!attempt) return
    this.#end(attempt)
    attempt.reached.resolve(link)
  }

  close(): void {
    this.#stopNext()
    for (const attempt of this.#attempts.values()) {
      this.#fail(attempt, closed('The swarm node was closed'))
    }
  }

  /** The time that an attempt may take does not run out while NATs are punched for it. */
  #patiently(
    attempt: Attempt,
    timeoutMs: number,
    signal: AbortSignal | undefined
  ): Promise<PeerLink> {
    const { clock } = this.#options
    const { reached } = attempt
    return new Promise((resolve, reject) => {
      const what = `Connecting to peer ${attempt.id.slice(0, 8)}`
      const stop = clock.after(timeoutMs, ontime)
      const done = (): void => {
        stop()
        signal?.removeEventListener('abort', onabort)
      }
      function ontime(): void {
        // It ends by itself, in time.
        if (attempt.isRandom) return
        done()
        reject(timedOut(`${what} did not finish: ${Math.round(timeoutMs)} ms have passed`))
      }
      function onabort(): void {
        done()
        reject(cancelled(`${what} was cancelled`))
      }
      reached.promise.then(resolve, reject).finally(done)
      if (signal?.aborted) onabort()
      else signal?.addEventListener('abort', onabort, { once: true })
    })
  }

  #start(id: string, peer: Uint8Array): Attempt {
    const { clock, dht, relayThrough } = this.#options
    const attempt: Attempt = {
      id,
      peer,
      reached: Promise.withResolvers<PeerLink>(),
      beganAt: clock.now(),
      link: undefined,
      isRandom: false,
      relay: dht.randomized ? relayThrough : null,
      stop: () => {}
    }
    // All who asked may have left before it fails.
    attempt.reached.promise.catch(() => {})
    this.#attempts.set(id, attempt)
    this.#dial(attempt)
    return attempt
  }

  #dial(attempt: Attempt): void {
    const { dht, clock, identity, open } = this.#options
    attempt.stop()
    attempt.stop = clock.after(
      ATTEMPT_MS,
      () => this.#fail(attempt, timedOut(`Peer ${attempt.id.slice(0, 8)} does not answer`)),
      true
    )
    const stream = dht.connect(Buffer.from(attempt.peer), {
      keyPair: identity,
      relayThrough: attempt.relay,
      holepunch: (remote, own) => this.#mayPunch(attempt, Math.max(remote, own) >= RANDOM)
    })
    let error: DialError | undefined
    stream.on('error', (thrown) => (error = thrown))
    stream.on('close', () => {
      if (this.#attempts.get(attempt.id) === attempt && attempt.link === link) {
        this.#ended(attempt, error)
      }
    })
    const link = open(stream)
    attempt.link = link
    // Refused by the peer: its code says more than the end of the stream, which is what any
    // DISCONNECTED here comes from, and then the listener above decides.
    link.ready().catch((refused: AppError) => {
      if (refused.code !== 'DISCONNECTED' && attempt.link === link) this.#fail(attempt, refused)
    })
  }

  /** Whether NATs may be punched for an attempt now; else it waits for its turn. */
  #mayPunch(attempt: Attempt, isRandom: boolean): boolean {
    attempt.isRandom ||= isRandom
    if (!isRandom || attempt.relay) return true
    this.#punching ??= attempt
    return this.#punching === attempt
  }

  /** A stream of an attempt has ended without a link. */
  #ended(attempt: Attempt, error: DialError | undefined): void {
    const { relayThrough, clock } = this.#options
    const code = error?.code ?? ''
    if (relayThrough && !attempt.relay && (NAT_FAILURES.has(code) || BUSY_FAILURES.has(code))) {
      attempt.relay = relayThrough
      this.#leaveTurn(attempt)
      return this.#dial(attempt)
    }
    const isOver = clock.now() - attempt.beganAt > MOST_MS
    if (attempt.isRandom && BUSY_FAILURES.has(code) && !isOver) {
      // Another is being punched for, here or at the peer: that says nothing of this one.
      attempt.stop()
      this.#leaveTurn(attempt)
      this.#waiting.push(attempt)
      return this.#soon()
    }
    this.#fail(attempt, failureOf(attempt.id, error))
  }

  /** Lets the next that waits try, a while after the last one. */
  #soon(): void {
    this.#stopNext()
    this.#stopNext = this.#options.clock.after(
      PUNCH_EVERY_MS,
      () => {
        if (this.#punching) return
        const next = this.#waiting.shift()
        if (next) this.#dial(next)
      },
      true
    )
  }

  #leaveTurn(attempt: Attempt): void {
    if (this.#punching !== attempt) return
    this.#punching = undefined
    if (this.#waiting.length > 0) this.#soon()
  }

  #fail(attempt: Attempt, error: AppError): void {
    if (this.#attempts.get(attempt.id) !== attempt) return
    this.#end(attempt)
    attempt.reached.reject(error)
    attempt.link?.destroy(error)
  }

  #end(attempt: Attempt): void {
    attempt.stop()
    if (this.#attempts.get(attempt.id) === attempt) this.#attempts.delete(attempt.id)
    const at = this.#waiting.indexOf(attempt)
    if (at >= 0) this.#waiting.splice(at, 1)
    this.#leaveTurn(attempt)
  }
}

/** Whether a connection failed because no way through NATs was found. */
export function isNatFailure({ cause }: AppError): boolean {
  const code = (cause as DialError | undefined)?.code ?? ''
  return NAT_FAILURES.has(code) || BUSY_FAILURES.has(code)
}

/** In words that a user can act on. */
function failureOf(id: string, cause: DialError | undefined): AppError {
  const code = cause?.code ?? ''
  const peer = `Peer ${id.slice(0, 8)}`
  if (NAT_FAILURES.has(code) || BUSY_FAILURES.has(code)) {
    return disconnected(`${peer} cannot be reached: no way through the NATs was found`, {
      hint: 'One side needs a UDP port that its router forwards: --port there, on the server',
      cause
    })
  }
  if (GONE_FAILURES.has(code)) {
    return disconnected(`${peer} is gone: nobody in the DHT reaches it`, { cause })
  }
  const why = cause?.message ?? 'it closed the connection'
  return disconnected(`${peer} cannot be reached: ${why}`, { cause })
}
