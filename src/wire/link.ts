// A protocol link over one encrypted connection to a peer: hello, typed messages in both
// directions, liveness, back-pressure in both directions. The rules are at the head of protocol.ts.
// Knows no DHT and no sessions. swarm/node.ts makes it around a stream; the server and client rooms
// send through it and receive through LinkHandlers.
//
// in:   stream -> guard -> protomux -> #receive -> codec -> handlers
// out:  open(), step(), ... -> #send -> protomux (encodes into the stream's own buffer) -> stream
import Protomux, { type Channel, type Message } from 'protomux'
import { toHex } from '../base/bytes.ts'
import { systemClock, type Clock } from '../base/clock.ts'
import {
  type AppError,
  closed,
  disconnected,
  protocolError,
  timedOut,
  toAppError
} from '../base/errors.ts'
import { silentLog, type Log } from '../base/log.ts'
import { helloCodec } from './codec/info.ts'
import { readTarget } from './codec/step.ts'
import { decodeMessage } from './codec/encode.ts'
import type { Codec } from './codec/fields.ts'
import { passedOn, type HandlersOf, type OptionsOf, type Refusal } from './handlers.ts'
import { FRAME_OVERHEAD, guardFrames, rawCodec, type LinkStream } from './link-stream.ts'
import { Liveness } from './liveness.ts'
import { checkOwn, CODECS, isAboutSession, isUse, type Messages } from './messages.ts'
import { fromWire, IDLE, NO_SESSION, toWire } from './peer-error.ts'
import { LIMITS, MESSAGE_TYPES, PROTOCOL_NAME, type MessageType } from './protocol.ts'
import { ReadGate } from './read-gate.ts'
import { SendQueue } from './send-queue.ts'
import type { Hello, ServerInfo, ServerStatus, Step, WireError } from './types.ts'

const MIB = 1024 * 1024
const KEEP_ALIVE_MS = 5000
/** When a link closes: time for queued bytes, and for the other end to close. */
const GOODBYE_MS = 1000

type Senders = { readonly [K in MessageType]: Message<Messages[K]> }
type Receivers = { readonly [K in MessageType]: (message: Messages[K], size: number) => void }

export type LinkHandlers = HandlersOf<PeerLink>
export type LinkOptions = OptionsOf<PeerLink>

export class PeerLink {
  /** Hex of the other end's public key. */
  readonly peer: string
  readonly key: Uint8Array
  /** Whether this end opened the connection. */
  readonly initiator: boolean
  /** The other end's hello, once it has come. */
  remote: Hello | undefined
  /** The other end's spans, kept current by its announcements. */
  servers: readonly ServerInfo[] = []
  heard: ServerStatus | undefined // In its newest pong.
  closed = false
  /** Whether any message about a session or weights was sent or received. */
  used = false
  readonly #stream: LinkStream
  readonly #handlers: LinkHandlers
  readonly #refusal: LinkOptions['refusal']
  readonly #clock: Clock
  readonly #log: Log
  readonly #softQueuedBytes: number
  readonly #channel: Channel | null
  readonly #senders: Senders
  readonly #receivers: Receivers
  readonly #queue: SendQueue
  readonly #gate: ReadGate
  readonly #liveness: Liveness
  readonly #ready: PromiseWithResolvers<void> = Promise.withResolvers()
  readonly #gone: PromiseWithResolvers<void> = Promise.withResolvers()
  readonly #stopHello: () => void
  /** The other end's hello, unless this end refuses it. */
  #hello: Hello | undefined
  /** Our hello was sent: nothing may be sent before it. */
  #greeted = false
  #faults = 0
  /** The peer ended the link with an error, so it need not be told one. */
  #told = false
  #reason: AppError | undefined
  #frameBytes = 0
  #sentBytes = 0

  constructor(stream: LinkStream, options: LinkOptions) {
    const { helloMs = 10_000, silenceMs = 20_000 } = options
    this.#stream = stream
    this.#handlers = options.handlers
    this.#refusal = options.refusal
    this.#clock = options.clock ?? systemClock
    this.#log = options.log ?? silentLog
    this.#softQueuedBytes = options.softQueuedBytes ?? MIB
    this.#liveness = new Liveness({
      ...options.liveness,
      clock: this.#clock,
      send: (nonce) => this.#send('ping', { nonce }),
      sentBytes: () => this.#sentBytes,
      heardBytes: () => stream.rawBytesRead,
      onsilent: (error) => this.destroy(error)
    })
    this.#gate = new ReadGate(options.maxPendingBytes ?? 16 * MIB, (paused) => {
      if (this.closed) return
      // A stream that we do not read hears nothing: that silence is not the peer's.
      stream.setTimeout(paused ? 0 : silenceMs)
      this.#liveness.hold(paused)
      if (paused) stream.pause()
      else stream.resume()
    })
    this.key = stream.remotePublicKey
    this.peer = toHex(this.key)
    this.initiator = stream.isInitiator
    this.#queue = new SendQueue({
      clock: this.#clock,
      maxBytes: options.maxQueuedBytes ?? 32 * MIB,
      stallMs: options.stallMs ?? 20_000,
      written: () => stream.rawBytesWritten,
      onfull: (error) => this.destroy(error)
    })
    // onclosed reports a failure before hello too; nobody needs to wait here.
    this.#ready.promise.catch(() => {})
    this.#stopHello = this.#clock.after(
      helloMs,
      () => this.destroy(timedOut(`The peer did not say hello: ${helloMs} ms have passed`)),
      true
    )
    const mux = Protomux.from(stream)
    guardFrames(stream, (error) => this.destroy(error))
    this.#channel = mux.createChannel({
      protocol: PROTOCOL_NAME,
      handshake: rawCodec(helloCodec),
      onopen: (bytes) => this.#onhello(bytes),
      onclose: () => this.#onended()
    })
    this.#senders = this.#makeSenders()
    this.#receivers = this.#makeReceivers()
    stream.on('error', (error) => {
      this.#reason ??= disconnected(`The connection broke: ${error.message}`, { cause: error })
    })
    stream.on('close', () => {
      this.#finish(this.#reason ?? disconnected('The peer went away'))
      this.#gone.resolve()
    })
    stream.on('drain', () => this.#queue.clear())
    if (stream.keepAlive === 0) stream.setKeepAlive(KEEP_ALIVE_MS)
    stream.setTimeout(silenceMs)
    if (!this.#channel) {
      this.destroy(disconnected('The link cannot be made: the connection is closed'))
    } else if (typeof options.hello !== 'function') this.#greet(options.hello)
    else if (stream.handshakeHash) this.#greet(options.hello(this))
    else this.#greetLater(options.hello)
  }

  /** Hash of the Noise handshake, for proofs bound to this connection. */
  get handshakeHash(): Uint8Array | null {
    return this.#stream.handshakeHash
  }

  /** The other end's IP address; empty while it is unknown. */
  get host(): string {
    return this.#stream.rawStream?.remoteHost ?? ''
  }

  /** Bytes that wait for the transport. */
  get queuedBytes(): number {
    return this.#queue.bytes
  }

  /** Resolves when both ends have accepted each other. @throws AppError why that did not happen */
  ready(): Promise<void> {
    return this.#ready.promise
  }

  /** Ends the link once queued bytes are sent, after a second at the latest. */
  async close(): Promise<void> {
    this.destroy()
    await this.#gone.promise
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Stops reading, tells the peer of an error unless it is a normal close, and closes. */
  destroy(error: AppError = closed('The link was closed')): void {
    if (this.closed) return
    const goodbye = this.#told || error.code === 'CLOSED' || error.code === 'DISCONNECTED'
    if (!goodbye && this.#greeted && !this.#stream.destroyed) {
      this.#senders.error.send(this.#errorOf(NO_SESSION, -1, error))
    }
    this.#finish(error)
    if (this.#stream.destroyed) return this.#gone.resolve()
    if (this.#greeted) this.#channel?.close()
    this.#stream.end()
    // A paused stream never notices that the other end closed.
    this.#stream.resume()
    const stop = this.#clock.after(GOODBYE_MS, () => this.#stream.destroy(), true)
    this.#stream.on('close', stop)
  }

  // The sending methods return false while many bytes wait, and on a closed link: then await
  // drained(). @throws AppError LIMIT for a message that no receiver would take

  open(message: Messages['open']): boolean {
    return this.#send('open', message)
  }

  opened(message: Messages['opened']): boolean {
    return this.#send('opened', message)
  }

  step(message: Step): boolean {
    return this.#send('step', message)
  }

  result(message: Messages['result']): boolean {
    return this.#send('result', message)
  }

  error(message: WireError): boolean {
    return this.#send('error', message)
  }

  cancel(message: Messages['cancel']): boolean {
    return this.#send('cancel', message)
  }

  closeSession(message: Messages['close']): boolean {
    return this.#send('close', message)
  }

  keep(message: Messages['keep']): boolean {
    return this.#send('keep', message)
  }

  announce(message: Messages['announce']): boolean {
    return this.#send('announce', message)
  }

  want(message: Messages['want']): boolean {
    return this.#send('want', message)
  }

  give(message: Messages['give']): boolean {
    return this.#send('give', message)
  }

  tune(message: Messages['tune']): boolean {
    return this.#send('tune', message)
  }

  tuned(message: Messages['tuned']): boolean {
    return this.#send('tuned', message)
  }

  /** Resolves when the transport has room again. @throws AppError when the link ends first */
  drained(): Promise<void> {
    return this.closed ? Promise.reject(this.#end()) : this.#queue.drained()
  }

  /** Round trip in ms. @throws AppError TIMEOUT, or why the link ended */
  ping(timeoutMs: number): Promise<number> {
    return this.#liveness.measure(timeoutMs)
  }

  /** Watches the peer until the returned function is called: a silent one ends the link. */
  awaited(): () => void {
    return this.#liveness.awaited()
  }

  /** Resolves when what was sent so far has arrived. @throws AppError; see Liveness */
  proven(): Promise<number> {
    return this.#liveness.proven()
  }

  /** In the order of MESSAGE_TYPES: protomux numbers messages as they are added. */
  #makeSenders(): Senders {
    const types = Object.keys(MESSAGE_TYPES) as MessageType[]
    return Object.fromEntries(types.map((type) => [type, this.#add(type)])) as unknown as Senders
  }

  #add<K extends MessageType>(type: K): Message<Messages[K]> {
    const codec: Codec<Messages[K]> = CODECS[type]
    if (!this.#channel) return { send: () => false }
    return this.#channel.addMessage({
      encoding: rawCodec(codec, (size) => (this.#frameBytes = size)),
      // Otherwise protomux would hold replies back until a handler's promise settles.
      autoBatch: false,
      onmessage: (bytes) => this.#receive(type, bytes)
    })
  }

  #makeReceivers(): Receivers {
    const handlers = this.#handlers
    return {
      ...passedOn(this, handlers, () => this.remote !== undefined),
      step: (message, size) => this.#onstep(message, size),
      error: (message) => this.#onerror(message),
      ping: ({ nonce }) => this.#send('pong', { nonce, status: this.#handlers.status?.() ?? IDLE }),
      pong: ({ nonce, status }) => {
        this.heard = status
        this.#liveness.pong(nonce)
      },
      announce: (message) => {
        this.servers = message.servers
        if (!this.remote && this.#hello) this.#enter(this.#hello)
        handlers.onannounce?.(this, message)
      }
    }
  }

  #send<K extends MessageType>(type: K, message: Messages[K]): boolean {
    if (this.closed || !this.#greeted) return false
    this.used ||= isUse(type)
    const hasRoom = this.#senders[type].send(message)
    this.#sentBytes += this.#frameBytes + FRAME_OVERHEAD
    if (hasRoom) {
      this.#queue.clear()
      return true
    }
    this.#queue.add(this.#frameBytes + FRAME_OVERHEAD)
    return !this.closed && this.#queue.bytes <= this.#softQueuedBytes
  }

  #greet(hello: Hello): void {
    this.#greeted = true
    this.#channel?.open(hello)
  }

  #greetLater(hello: (link: PeerLink) => Hello): void {
    this.#stream.on('handshake', () => {
      if (this.closed) return
      try {
        this.#greet(hello(this))
      } catch (error) {
        this.destroy(toAppError(error))
      }
    })
  }

  #onhello(bytes: Uint8Array): void {
    if (this.closed) return
    try {
      const hello = decodeMessage(helloCodec, bytes)
      if (hello.refusal) return this.#onerror(hello.refusal)
      checkOwn(this.key, hello.servers)
      const refusal = this.#refusal?.(this, hello)
      if (refusal) return this.#refuse(refusal)
      this.#hello = hello
      this.servers = hello.servers
    } catch (error) {
      return this.destroy(toAppError(error))
    }
    // A peer that may be refused is let in when it announces itself.
    if (!this.#refusal) this.#enter(this.#hello)
  }

  #enter(hello: Hello): void {
    this.remote = hello
    this.#stopHello()
    this.#ready.resolve()
    this.#guard('hello', () => this.#handlers.onready?.(this))
  }

  /** The peer is told why, or nothing; to this end it is the peer's fault. */
  #refuse({ why, isTold }: Refusal): void {
    if (isTold) this.#senders.error.send(this.#errorOf(NO_SESSION, -1, why))
    this.#told = true
    this.destroy(protocolError(`The peer is refused: ${why.message}`))
  }

  /** The other end closed the channel, or the stream ended and took the channel with it. */
  #onended(): void {
    if (this.closed) return
    this.destroy(this.#reason ?? disconnected('The peer said goodbye'))
  }

  #finish(error: AppError): void {
    if (this.closed) return
    this.closed = true
    this.#reason = error
    this.#stopHello()
    this.#ready.reject(error)
    this.#queue.end(error)
    this.#liveness.end(error)
    this.#guard('end', () => this.#handlers.onclosed?.(this, error))
  }

  #end(): AppError {
    return this.#reason ?? closed('The link was closed')
  }

  #receive<K extends MessageType>(type: K, bytes: Uint8Array): void {
    if (this.closed) return
    this.used ||= isUse(type)
    let message: Messages[K]
    try {
      message = decodeMessage(CODECS[type] as Codec<Messages[K]>, bytes)
      if ('servers' in message) checkOwn(this.key, message.servers)
    } catch (error) {
      return this.#fault(type, bytes, toAppError(error))
    }
    this.#guard(type, () => this.#receivers[type](message, bytes.byteLength))
  }

  /** A handler's error must not reach protomux, which would end the connection for it. */
  #guard(what: string, call: () => void): void {
    try {
      call()
    } catch (error) {
      this.#log.error(`the '${what}' of ${this.peer} was not handled: ${toAppError(error).message}`)
    }
  }

  #onstep(step: Step, size: number): void {
    const done = this.#handlers.onstep?.(this, step)
    if (!done) return
    const leave = this.#gate.enter(size)
    done
      .catch((error: unknown) => {
        this.error(this.#errorOf(step.session, step.step, toAppError(error)))
      })
      .finally(leave)
  }

  #onerror(message: WireError): void {
    this.#handlers.onerror?.(this, message)
    if (message.session.byteLength > 0 || this.closed) return
    // The other end closes the link now; waiting for that would only hide the reason.
    const told = { ...message, message: `The peer ended the link: ${message.message}` }
    this.#told = true
    this.destroy(fromWire(told, 'DISCONNECTED'))
  }

  /** Counts a message that could not be read. */
  #fault(type: MessageType, bytes: Uint8Array, error: AppError): void {
    this.#faults++
    const target = isAboutSession(type) && type !== 'error' ? readTarget(bytes) : undefined
    if (!target || this.#faults >= LIMITS.faults) return this.destroy(error)
    const step = type === 'step' || type === 'result' ? target.step : -1
    const failure = this.#errorOf(target.session, step, error)
    if (type === 'result' || type === 'opened') this.#handlers.onerror?.(this, failure)
    else this.error(failure)
  }

  #errorOf(session: Uint8Array, step: number, error: AppError): WireError {
    // A peer that may still be refused is not told how busy this end is.
    const status = this.#refusal && !this.remote ? IDLE : (this.#handlers.status?.() ?? IDLE)
    return toWire(error, { session, step, status })
  }
}
