// Serves one span: opens sessions, checks steps against limits, queues them, runs them in the
// engine and sends what comes out to the client or on to the next server.
// Called by host.ts, which wires connections to `handlers`. Knows no terminal and no DHT: a
// connection is a ServerLink, another server is reached through `reach`.
//
// way of a step:  onstep -> check -> #queue -> #pump -> ComputeApi.step -> #deliver
import { toHex } from '../base/bytes.ts'
import { systemClock, type Clock } from '../base/clock.ts'
import { AppError, computeError, internal, toAppError } from '../base/errors.ts'
import { silentLog, type Log } from '../base/log.ts'
import { Resource } from '../base/resource.ts'
import type { ComputeApi, SpanInfo } from '../blocks/types.ts'
import { decodeTensor, encodeTensor } from '../wire/tensor.ts'
import type {
  CancelStep,
  CloseSession,
  OpenSession,
  ServerStatus,
  Step,
  WireDtype,
  WireTensor
} from '../wire/types.ts'
import { checkOpen, checkStep } from './check.ts'
import type { Reach, ServerLink } from './links.ts'
import { Pusher } from './push.ts'
import { admit, pickNext, type AdmissionLimits } from './schedule.ts'
import { SessionTable, type ServedSession } from './sessions.ts'

export interface BlockServerOptions {
  compute: ComputeApi
  span: SpanInfo
  /** The model's content id, 32 bytes. */
  model: Uint8Array
  /** This server's public key, 32 bytes. */
  self: Uint8Array
  /** KV tokens that all sessions together may hold. */
  capacityTokens: number
  reach: Reach
  /** Default: 16 sessions a peer, 256 in all. */
  limits?: AdmissionLimits
  /** Waiting steps of one peer over which it is told BUSY. Default 128. */
  queuePerPeer?: number
  /** A session unused this long is dropped; its client replays. Default 30 min. */
  idleMs?: number
  clock?: Clock
  log?: Log
}

interface Job {
  readonly peer: string
  readonly session: string
  readonly count: number
  readonly since: number
  readonly served: ServedSession
  readonly step: Step
  /** Its bytes are held for nobody any more. */
  readonly leave: () => void
}

const NO_SESSION = new Uint8Array(0)

export class BlockServer extends Resource {
  readonly span: SpanInfo
  readonly sessions: SessionTable = new SessionTable()
  draining = false
  readonly #options: BlockServerOptions
  readonly #clock: Clock
  readonly #log: Log
  readonly #limits: AdmissionLimits
  readonly #pusher: Pusher
  #queue: Job[] = []
  #running: Job | undefined
  #lastServed = new Map<string, number>()
  #stopSweeping: () => void = () => {}
  #idle: (() => void)[] = []

  constructor(options: BlockServerOptions) {
    super()
    this.span = options.span
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#log = options.log ?? silentLog
    this.#limits = options.limits ?? { sessionsPerPeer: 16, sessions: 256 }
    this.#pusher = new Pusher(options.reach, { clock: this.#clock })
  }

  get freeTokens(): number {
    return Math.max(0, this.#options.capacityTokens - this.sessions.promisedTokens)
  }

  status(computeMs = 0, queueMs = 0): ServerStatus {
    const queue = this.#queue.length + (this.#running ? 1 : 0)
    return { queue, freeTokens: this.freeTokens, computeMs, queueMs }
  }

  /** Opens a session, or changes what an open one of the same owner was promised. */
  async open(link: ServerLink, message: OpenSession): Promise<void> {
    try {
      checkOpen(message, this.#options.model, this.span)
      const known = this.sessions.get(message.session)
      if (known) this.#extend(known, link, message)
      else await this.#create(link, message)
      link.opened({ session: message.session, status: this.status() })
    } catch (error) {
      this.#refuse(link, message.session, -1, toAppError(error))
    }
  }

  /**
   * Takes a step in: queued, or answered with a coded error. Resolves when its bytes are let go; never
   * rejects.
   */
  step(link: ServerLink, step: Step): void | Promise<void> {
    try {
      const served = this.sessions.get(step.session)
      if (served && step.step <= served.lastStep) return
      checkStep(step, served, this.span.hiddenSize)
      if (!served) return
      const waiting = this.#queue.filter((job) => job.peer === served.owner.peer).length
      if (waiting >= (this.#options.queuePerPeer ?? 128)) {
        throw new AppError('BUSY', `The step was refused: ${waiting} steps of this peer wait`, {
          retryAfterMs: 500
        })
      }
      served.lastStep = step.step
      served.usedAt = this.#clock.now()
      const held = Promise.withResolvers<void>()
      this.#queue.push({
        peer: served.owner.peer,
        session: served.key,
        count: step.count,
        since: this.#clock.now(),
        served,
        step,
        leave: held.resolve
      })
      this.#pump()
      return held.promise
    } catch (error) {
      this.#refuse(link, step.session, step.step, toAppError(error))
    }
  }

  cancel(link: ServerLink, message: CancelStep): void {
    const served = this.sessions.get(message.session)
    if (!served || served.owner !== link) return
    this.#forget((job) => job.served === served && job.step.step <= message.step)
    const running = this.#running
    if (running?.served === served && running.step.step <= message.step) served.running?.abort()
  }

  async closeSession(link: ServerLink, message: CloseSession): Promise<void> {
    const served = this.sessions.get(message.session)
    if (served && served.owner === link) await this.#drop(served)
  }

  /** Frees everything that a connection owned. */
  async disconnected(link: ServerLink): Promise<void> {
    await Promise.all(this.sessions.ownedBy(link).map((served) => this.#drop(served)))
    if (this.sessions.countOf(link.peer) === 0) this.#lastServed.delete(link.peer)
  }

  /** An answer of the next server to a pushed step: errors go to the client that owns the session. */
  pushRefused(session: Uint8Array, step: number, error: AppError): void {
    const served = this.sessions.get(session)
    if (served) this.#refuse(served.owner, session, step, error)
  }

  /** Refuses new sessions and resolves when the open ones are gone. */
  async drain(signal: AbortSignal): Promise<void> {
    this.draining = true
    while (this.sessions.size > 0 && !signal.aborted) {
      const wake = Promise.withResolvers<void>()
      this.#idle.push(wake.resolve)
      signal.addEventListener('abort', () => wake.resolve(), { once: true })
      await wake.promise
    }
  }

  protected override async _open(): Promise<void> {
    this.#sweep()
  }

  protected override async _close(): Promise<void> {
    this.draining = true
    this.#stopSweeping()
    this.#forget(() => true)
    await Promise.all(this.sessions.all().map((served) => this.#drop(served)))
    this.#pusher.close()
  }

  #extend(known: ServedSession, link: ServerLink, message: OpenSession): void {
    if (known.owner !== link) throw new AppError('DENIED', 'The session belongs to another peer')
    if (known.first !== message.first || known.last !== message.last) {
      throw new AppError('BAD_INPUT', 'The session is open over other blocks')
    }
    this.#admit(message.maxTokens - known.maxTokens, link.peer, true)
    // A promise only grows: a smaller number would not free what the session holds.
    this.sessions.promise(known, Math.max(message.maxTokens, known.maxTokens))
  }

  async #create(link: ServerLink, message: OpenSession): Promise<void> {
    this.#admit(message.maxTokens, link.peer, false)
    const served: ServedSession = {
      id: new Uint8Array(message.session),
      key: toHex(message.session),
      owner: link,
      first: message.first,
      last: message.last,
      compute: undefined,
      opening: undefined,
      maxTokens: message.maxTokens,
      length: 0,
      lastStep: -1,
      usedAt: this.#clock.now(),
      running: undefined,
      closed: false
    }
    // In the table before the engine answers, so that a flood is counted while it opens.
    this.sessions.add(served)
    const { first, last } = message
    served.opening = this.#openInEngine(served, { first, last })
    await served.opening
  }

  async #openInEngine(
    served: ServedSession,
    range: { first: number; last: number }
  ): Promise<void> {
    try {
      const compute = await this.#options.compute.openSession(this.span.span, range)
      served.compute = compute
      if (served.closed) await this.#options.compute.closeSession(compute)
    } catch (error) {
      this.#remove(served)
      throw error
    }
  }

  #admit(tokens: number, peer: string, known: boolean): void {
    const state = {
      promisedTokens: this.sessions.promisedTokens,
      capacityTokens: this.#options.capacityTokens,
      sessionsOfPeer: known ? 0 : this.sessions.countOf(peer),
      sessions: known ? 0 : this.sessions.size,
      draining: this.draining && !known
    }
    const verdict = admit(tokens, state, this.#limits)
    if (verdict.kind === 'admit') return
    throw new AppError(verdict.code, `The session was refused: ${verdict.why}`, {
      retryable: true,
      retryAfterMs: verdict.retryAfterMs
    })
  }

  #pump(): void {
    if (this.#running || this.closing) return
    const index = pickNext(this.#queue, { lastServed: this.#lastServed, now: this.#clock.now() })
    const job = this.#queue[index]
    if (!job) return
    this.#queue.splice(index, 1)
    this.#running = job
    this.#lastServed.set(job.peer, this.#clock.now())
    void this.#run(job).finally(() => {
      this.#running = undefined
      job.leave()
      this.#pump()
    })
  }

  #forget(which: (job: Job) => boolean): void {
    const gone = this.#queue.filter(which)
    if (gone.length === 0) return
    this.#queue = this.#queue.filter((job) => !which(job))
    for (const job of gone) job.leave()
  }

  async #run(job: Job): Promise<void> {
    const { served, step } = job
    const waited = this.#clock.now() - job.since
    try {
      // Nobody need wait for `opened` before the first step.
      if (served.compute === undefined) await served.opening
      if (served.closed || served.compute === undefined) throw gone(served)
      if (step.start > served.length) throw gap(served, step)
      if (waited > step.deadlineMs) {
        throw new AppError('TIMEOUT', `The step waited ${Math.round(waited)} ms in the queue`)
      }
      const controller = new AbortController()
      served.running = controller
      served.length = step.start
      const { hidden, computeMs, queueMs } = await this.#options.compute.step(
        {
          session: served.compute,
          start: step.start,
          count: step.count,
          hidden: decodeTensor(step.tensor)
        },
        controller.signal
      )
      served.length = step.start + step.count
      served.usedAt = this.#clock.now()
      served.running = undefined
      this.#deliver(job, hidden, this.status(computeMs, waited + queueMs))
    } catch (error) {
      const failure = toAppError(error)
      if (failure.code === 'INTERNAL') this.#log.error(`a step failed: ${failure.message}`)
      this.#refuse(served.owner, step.session, step.step, failure)
    } finally {
      served.running = undefined
    }
  }

  #deliver(job: Job, hidden: Float32Array, status: ServerStatus): void {
    const { served, step } = job
    if (served.closed) return
    const next = step.route[0]
    const { columns, dtype } = step.tensor
    const answer = (values: Float32Array, rows: number): void =>
      served.owner.result({
        session: step.session,
        step: step.step,
        start: step.start,
        count: step.count,
        last: served.last,
        trace: [{ peer: this.#options.self, status }],
        tensor: encodeOutput(values, rows, columns, dtype)
      })
    if (!next) {
      const rows = Math.min(step.count, step.answerRows ?? step.count)
      answer(hidden.subarray((step.count - rows) * columns), rows)
      return
    }
    const deadlineMs = Math.max(0, step.deadlineMs - (this.#clock.now() - job.since))
    const tensor = encodeOutput(hidden, step.count, columns, dtype)
    this.#pusher.push(next, { ...step, route: step.route.slice(1), deadlineMs, tensor }, (error) =>
      this.#refuse(served.owner, step.session, step.step, error)
    )
    if (step.mirror) answer(hidden, step.count)
  }

  async #drop(served: ServedSession): Promise<void> {
    if (served.closed) return
    served.closed = true
    this.#forget((job) => job.served === served)
    served.running?.abort()
    this.#remove(served)
    if (served.compute !== undefined) await this.#options.compute.closeSession(served.compute)
  }

  #remove(served: ServedSession): void {
    this.sessions.remove(served)
    if (this.sessions.size === 0) for (const wake of this.#idle.splice(0)) wake()
  }

  #sweep(): void {
    const { idleMs = 30 * 60_000 } = this.#options
    this.#stopSweeping = this.#clock.after(Math.min(idleMs, 60_000), () => this.#sweep(), true)
    for (const served of this.sessions.idleSince(this.#clock.now() - idleMs)) {
      this.#drop(served).catch((error: unknown) => this.#log.warn(toAppError(error).message))
    }
  }

  #refuse(link: ServerLink, session: Uint8Array, step: number, error: AppError): void {
    link.error({
      session: session.byteLength === 16 ? session : NO_SESSION,
      step,
      code: error.code,
      message: error.message,
      retryable: error.retryable,
      retryAfterMs: error.retryAfterMs ?? 0,
      status: this.status()
    })
  }
}

/** @throws AppError COMPUTE: values that cannot travel are the engine's fault, not the client's */
function encodeOutput(
  values: Float32Array,
  rows: number,
  columns: number,
  dtype: WireDtype
): WireTensor {
  try {
    return encodeTensor(values, rows, columns, dtype)
  } catch (cause) {
    throw computeError(`The step's output cannot be sent: ${toAppError(cause).message}`, { cause })
  }
}

function gone(served: ServedSession): AppError {
  if (served.closed) return new AppError('CLOSED', 'The session is closed')
  return internal('The session is not open in the engine yet')
}

function gap(served: ServedSession, step: Step): AppError {
  return new AppError(
    'NOT_FOUND',
    `The step starts at ${step.start}: the session holds ${served.length} tokens`,
    { retryable: true }
  )
}
