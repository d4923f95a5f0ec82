// Serves training calls for one span: joins their pieces in bounded memory, passes them to the
// engine, where sessions have priority, and sends the answers in pieces. Keeps nothing of a call
// except adapters, for a while. Called by message-dispatch.ts. Knows no sessions.
import type { Clock } from '../../base/clock.ts'
import {
  badInput,
  busy,
  cancelled,
  closed,
  notFound,
  timedOut,
  toAppError,
  type AppError
} from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { ServerEvents } from '../events.ts'
import { hasOnlyNumbers } from '../../blocks/finite.ts'
import { adapterNumbers } from '../../blocks/train/adapter-shape.ts'
import type { TrainStep } from '../../blocks/train/train-types.ts'
import type { ComputeApi, SpanInfo } from '../../blocks/types.ts'
import type { ModelConfig } from '../../model/types.ts'
import { decodeMessage, encodeMessage } from '../../wire/codec/encode.ts'
import { adapterBytes, answerCodec, callCodec } from '../../wire/codec/tune.ts'
import { toWire } from '../../wire/peer-error.ts'
import { bytesOfFloats, floatsOf, Pieces, piecesOf } from '../../wire/pieces.ts'
import { LIMITS } from '../../wire/protocol.ts'
import type { ServerStatus, Tune, TuneAnswer, TuneCall, Tuned } from '../../wire/types.ts'
import { AdapterStore } from './adapter-store.ts'

/** The part of a connection that training uses. */
export interface TuneLink {
  readonly peer: string
  readonly closed: boolean
  /** False if many bytes wait: then drained(). */
  tuned(message: Tuned): boolean
  drained(): Promise<void>
}

/**
 * Asked before each call and before its rows are computed: whether its peer may have so many tokens
 * computed, which then count. @throws AppError DENIED
 */
export type Admit = (tokens: number) => void

export interface TrainLimits {
  /** Most memory for adapters, bytes. Default 256 MiB. */
  readonly adapterBytes?: number | undefined
  /** Most memory for calls under way, bytes. Default 512 MiB. */
  readonly callBytes?: number | undefined
}

export interface TrainServerOptions extends TrainLimits {
  readonly compute: Pick<ComputeApi, 'train'>
  readonly span: SpanInfo
  readonly config: ModelConfig
  /** The model's content id, 32 bytes. */
  readonly model: Uint8Array
  readonly status: () => ServerStatus
  readonly events: ServerEvents
  readonly clock: Clock
  readonly log: Log
}

const ADAPTER_BYTES = 256 * 2 ** 20
const CALL_BYTES = 512 * 2 ** 20
/** Most calls of one peer: enough to keep a server busy while others travel. */
const CALLS_OF_PEER = 8
const BUSY_MS = 500
/** A call whose pieces stop arriving is dropped after this, ms. */
const SILENCE_MS = 20_000

interface Call {
  readonly link: TuneLink
  readonly request: number
  readonly pieces: Pieces
  readonly sizeBytes: number
  readonly stop: AbortController
  stopTimer: () => void
  isRunning: boolean
}

export class TrainServer {
  readonly #options: TrainServerOptions
  readonly #adapters: AdapterStore
  readonly #calls = new Set<Call>()

  constructor(options: TrainServerOptions) {
    this.#options = options
    this.#adapters = new AdapterStore(options.adapterBytes ?? ADAPTER_BYTES)
  }

  /** Calls under way. */
  get size(): number {
    return this.#calls.size
  }

  /** Handles a piece of a call; never throws. `admit`: by default everybody may train. */
  ontune(link: TuneLink, message: Tune, admit: Admit = () => {}): void {
    const known = this.#find(link, message.request)
    if (message.cancel === true) {
      if (known !== undefined) this.#end(known)
      return
    }
    try {
      admit(0)
      const call = known ?? this.#begin(link, message)
      this.#restart(call)
      const whole = call.pieces.add(message)
      if (whole !== undefined && !call.isRunning) void this.#run(call, whole, admit)
    } catch (error) {
      if (known !== undefined) this.#end(known)
      this.#refuse(link, message.request, toAppError(error))
    }
  }

  onclosed(link: object): void {
    for (const call of this.#calls) if (call.link === link) this.#end(call)
  }

  close(): void {
    for (const call of this.#calls) {
      this.#end(call)
      this.#refuse(call.link, call.request, closed('The server serves these blocks no more'))
    }
  }

  #find(link: TuneLink, request: number): Call | undefined {
    for (const call of this.#calls) if (call.link === link && call.request === request) return call
    return undefined
  }

  #begin(link: TuneLink, { request, data, left }: Tune): Call {
    const sizeBytes = data.byteLength + left
    const calls = [...this.#calls]
    const held = calls.reduce((sum, call) => sum + call.sizeBytes, 0)
    const own = calls.filter((call) => call.link.peer === link.peer).length
    const { callBytes = CALL_BYTES } = this.#options
    if (own >= CALLS_OF_PEER || held + sizeBytes > callBytes) {
      throw busy('The server has as many training steps under way as it can hold', {
        retryAfterMs: BUSY_MS
      })
    }
    const call: Call = {
      link,
      request,
      pieces: new Pieces(LIMITS.callBytes),
      sizeBytes,
      stop: new AbortController(),
      stopTimer: () => {},
      isRunning: false
    }
    this.#calls.add(call)
    return call
  }

  #restart(call: Call): void {
    call.stopTimer()
    call.stopTimer = this.#options.clock.after(SILENCE_MS, () => {
      this.#end(call)
      this.#refuse(call.link, call.request, timedOut('A training call was not sent to its end'))
    })
  }

  async #run(call: Call, bytes: Uint8Array, admit: Admit): Promise<void> {
    const { clock, log } = this.#options
    call.isRunning = true
    call.stopTimer()
    try {
      const message = decodeMessage(callCodec, bytes)
      call.stopTimer = clock.after(message.deadlineMs, () => {
        call.stop.abort(timedOut('The training step took longer than its caller waits'))
      })
      const answer = await this.#answer(message, call.stop.signal, admit)
      await this.#send(call, encodeMessage(answerCodec, answer))
    } catch (error) {
      const failure = call.stop.signal.aborted
        ? toAppError(call.stop.signal.reason)
        : toAppError(error)
      if (failure.code === 'INTERNAL') log.error(`a training step failed: ${failure.message}`)
      if (this.#calls.has(call)) this.#refuse(call.link, call.request, failure)
    } finally {
      this.#end(call)
    }
  }

  async #answer(call: TuneCall, signal: AbortSignal, admit: Admit): Promise<TuneAnswer> {
    const { compute, status, events, clock } = this.#options
    this.#check(call)
    if (call.kind === 'adapter') {
      this.#keep(call)
      return { hidden: new Uint8Array(0), status: status() }
    }
    const step = this.#step(call)
    const tokens = step.lengths.reduce((sum, length) => sum + length, 0)
    admit(tokens)
    const began = clock.now()
    const done = await compute.train(step, signal)
    events.trained({ tokens, ms: clock.now() - began })
    return {
      hidden: bytesOfFloats(done.hidden),
      status: status(),
      ...(done.adapterGradient === undefined
        ? {}
        : { adapterGradient: bytesOfFloats(done.adapterGradient) }),
      ...(done.promptGradient === undefined
        ? {}
        : { promptGradient: bytesOfFloats(done.promptGradient) })
    }
  }

  #check({ model, start, end }: TuneCall): void {
    const { span, model: own } = this.#options
    if (Buffer.compare(model, own) !== 0) throw notFound('The server has another model')
    if (start < span.start || end > span.end) {
      throw notFound(`The server has blocks ${span.start}:${span.end}, not ${start}:${end}`)
    }
  }

  #keep({ shape, values, start, end }: TuneCall): void {
    if (shape === undefined || values === undefined)
      throw badInput('An adapter came without values')
    const { config } = this.#options
    const numbers = floatsOf(values)
    // Before any memory is allocated except the call's own.
    const expected = adapterNumbers(config, shape, { start, end })
    if (numbers.length !== expected) {
      throw badInput(`An adapter of ${numbers.length} numbers cannot be used: ${expected} belong`)
    }
    if (!hasOnlyNumbers(numbers)) throw badInput('An adapter has values that are no numbers')
    const hasher = new Bun.CryptoHasher('blake2b256')
    const id = new Uint8Array(hasher.update(adapterBytes(shape, values)).digest())
    this.#adapters.put(id, { start, end }, { shape, values: numbers })
  }

  #step({
    kind,
    lengths,
    hidden,
    gradient,
    prompts,
    adapter,
    dropout,
    start,
    end
  }: TuneCall): TrainStep {
    const isBackward = kind === 'backward'
    if (lengths === undefined || hidden === undefined || isBackward !== (gradient !== undefined)) {
      throw badInput('A training step lacks its rows or their gradient')
    }
    const range = { start, end }
    return {
      span: this.#options.span.span,
      range,
      lengths,
      hidden: floatsOf(hidden),
      gradient: gradient && floatsOf(gradient),
      prompts: prompts && floatsOf(prompts),
      adapter: adapter && this.#adapters.take(adapter, range),
      dropout
    }
  }

  async #send({ link, request, stop }: Call, bytes: Uint8Array): Promise<void> {
    for (const piece of piecesOf(bytes, LIMITS.tuneBytes)) {
      if (stop.signal.aborted) throw cancelled('The call is no longer wanted')
      if (link.closed) return
      if (!link.tuned({ request, ...piece })) await link.drained()
    }
  }

  #refuse(link: TuneLink, request: number, error: AppError): void {
    if (link.closed) return
    this.#options.events.refused(link.peer, 'a training step', error)
    const failure = toWire(error, { status: this.#options.status() })
    link.tuned({ request, left: 0, data: new Uint8Array(0), failure })
  }

  #end(call: Call): void {
    if (!this.#calls.delete(call)) return
    call.stopTimer()
    call.stop.abort(cancelled('The call is no longer wanted'))
  }
}
