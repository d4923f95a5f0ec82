// Opens and closes sessions: admission, their sessions in the engine, closing what is idle,
// draining. Knows no steps; block-server.ts turns messages into calls, prefix-keeper.ts keeps what
// has ended.
import { toHex } from '../../base/bytes.ts'
import type { Clock } from '../../base/clock.ts'
import { AppError, toAppError } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { ComputeApi, SpanInfo } from '../../blocks/types.ts'
import type { OpenSession } from '../../wire/types.ts'
import { adaptersKey, type HeldAdapters } from '../adapters/adapter-keeper.ts'
import { admit, GIVE_UP_MS, leastUsed, type Admission, type AdmissionLimits } from './admission.ts'
import { checkOpen } from './check.ts'
import type { ServerEvents, SessionEnd } from '../events.ts'
import { originOf, type ServerLink } from '../links.ts'
import type { PrefixKeeper } from './prefix-keeper.ts'
import { freeInMs } from './retry-after.ts'
import type { RunningPrefix } from './running-prefix.ts'
import { SessionMarks } from './session-marks.ts'
import { SessionTable, type ServedSession } from './sessions.ts'
import type { StepsUnderWay } from './steps-under-way.ts'

export interface SessionKeeperOptions {
  compute: ComputeApi
  span: SpanInfo
  /** The model's content id, 32 bytes. */
  model: Uint8Array
  /** KV tokens that all sessions together may hold. */
  capacityTokens: number
  limits: AdmissionLimits
  prefixes: PrefixKeeper
  /** Adapters for a session, asked for where they are not here. */
  adapters: (link: ServerLink, message: OpenSession) => Promise<HeldAdapters | undefined>
  /** A session without a step for this long is closed, ms. */
  idleMs: number
  events: ServerEvents
  clock: Clock
  log: Log
  /** Steps under way, which are cancelled when their session ends. */
  steps: StepsUnderWay
  /** Called when a session is dropped. */
  ondrop: (served: ServedSession) => void
}

/** Ended sessions that are remembered, to estimate how long one lives. */
const MAX_LIVES = 64

export class SessionKeeper {
  readonly table: SessionTable = new SessionTable()
  draining = false
  readonly #options: SessionKeeperOptions
  readonly #clock: Clock
  #stopSweeping: () => void = () => {}
  #idle: (() => void)[] = []
  /** How long the most recently ended sessions lived, ms. */
  readonly #lives: number[] = []

  constructor(options: SessionKeeperOptions) {
    this.#options = options
    this.#clock = options.clock
  }

  /** Tokens that a new session may be promised; 0 if the table is full and no session is idle. */
  get freeTokens(): number {
    const { capacityTokens, limits } = this.#options
    const isFull = this.table.size >= limits.sessions && !leastUsed(this.#uses())
    return isFull ? 0 : Math.max(0, capacityTokens - this.table.promisedTokens)
  }

  /**
   * Opens a session, or changes what its owner's open session is promised.
   * @returns tokens that it holds already
   * @throws AppError
   */
  async open(link: ServerLink, message: OpenSession): Promise<number> {
    checkOpen(message, this.#options.model, this.#options.span)
    const known = this.table.get(message.session)
    if (known) {
      await this.#extend(known, link, message)
      return 0
    }
    return this.#create(link, message)
  }

  async drop(served: ServedSession, why: SessionEnd): Promise<void> {
    if (served.closed) return
    served.closed = true
    this.#options.events.ended(served, why)
    this.#options.steps.cancel(served)
    this.#options.ondrop(served)
    this.#remove(served)
    served.adapters?.release()
    // A draining server keeps no prefixes.
    if (!this.draining) return this.#options.prefixes.end(served)
    if (served.compute !== undefined) await this.#options.compute.closeSession(served.compute)
  }

  /** Resolves when no session is open, or `signal` aborts. */
  async drained(signal: AbortSignal): Promise<void> {
    while (this.table.size > 0 && !signal.aborted) {
      const wake = Promise.withResolvers<void>()
      this.#idle.push(wake.resolve)
      signal.addEventListener('abort', () => wake.resolve(), { once: true })
      await wake.promise
    }
  }

  /** Closes sessions that have been unused for too long, now and regularly. */
  sweep(): void {
    const { idleMs, log, prefixes, steps } = this.#options
    this.#stopSweeping = this.#clock.after(Math.min(idleMs, 60_000), () => this.sweep(), true)
    for (const served of this.table.idleSince(this.#clock.now() - idleMs)) {
      if (steps.has(served)) continue
      this.drop(served, 'idle').catch((error: unknown) => log.warn(toAppError(error).message))
    }
    prefixes.makeRoom().catch((error: unknown) => log.warn(toAppError(error).message))
  }

  async close(): Promise<void> {
    this.draining = true
    this.#stopSweeping()
    await Promise.all(this.table.all().map((served) => this.drop(served, 'server stops')))
    await this.#options.prefixes.close()
  }

  async #extend(known: ServedSession, link: ServerLink, message: OpenSession): Promise<void> {
    if (known.owner !== link) throw new AppError('DENIED', 'The session belongs to another peer')
    if (known.start !== message.start || known.end !== message.end) {
      throw new AppError('BAD_INPUT', 'The session is open over other blocks')
    }
    if (known.adaptersKey !== adaptersKey(message.adapters)) {
      throw new AppError('BAD_INPUT', 'The session is open with other adapters')
    }
    // A promise only grows: a smaller number frees nothing that the session holds.
    const more = message.maxTokens - known.maxTokens
    if (more <= 0) return
    this.#admit(more, link, true)
    this.table.promise(known, message.maxTokens)
    await this.#options.prefixes.makeRoom()
  }

  async #create(link: ServerLink, message: OpenSession): Promise<number> {
    this.#admit(message.maxTokens, link, false)
    const served: ServedSession = {
      id: new Uint8Array(message.session),
      key: toHex(message.session),
      owner: link,
      start: message.start,
      end: message.end,
      compute: undefined,
      adapters: undefined,
      adaptersKey: adaptersKey(message.adapters),
      opening: undefined,
      maxTokens: message.maxTokens,
      length: 0,
      tokens: 0,
      marks: new SessionMarks(),
      forget: message.forget === true,
      lastStep: -1,
      openedAt: this.#clock.now(),
      usedAt: this.#clock.now(),
      closed: false
    }
    // Added before the engine answers, so that sessions that are being opened count against a
    // flood.
    this.table.add(served)
    this.#options.events.opened(served)
    served.opening = this.#openInEngine(served, link, own(message))
    await served.opening
    return served.length
  }

  async #openInEngine(
    served: ServedSession,
    link: ServerLink,
    message: OpenSession
  ): Promise<void> {
    const { compute, prefixes } = this.#options
    const { start, end } = served
    let adapters: HeldAdapters | undefined
    try {
      // Nothing is awaited without them, so that messages stay in their order.
      if (message.adapters !== undefined) {
        adapters = await this.#options.adapters(link, message)
        served.adapters = adapters
      }
      const begun = await prefixes.begin(message, this.#running(served.adaptersKey))
      if (begun) {
        served.length = begun.length
        served.marks.begin(begun.marks, begun.peak)
      }
      await prefixes.makeRoom()
      const session = begun?.session ?? (await prefixes.openEmpty({ start, end }, adapters))
      served.compute = session
      if (served.closed) {
        adapters?.release()
        await compute.closeSession(session)
      }
    } catch (error) {
      adapters?.release()
      this.#remove(served)
      if (!served.closed) this.#options.events.ended(served, 'failed')
      served.closed = true
      throw error
    }
  }

  /** What open sessions with the same adapters hold under names. */
  #running(adapters: string): RunningPrefix[] {
    return this.table
      .all()
      .filter((one) => one.adaptersKey === adapters && !one.closed && !one.forget)
      .flatMap(({ compute: session, start, end, marks }) =>
        session === undefined ? [] : [{ session, start, end, marks: marks.all }]
      )
  }

  /** Closes idle sessions to make room for one that would be refused. @throws AppError */
  #admit(tokens: number, link: ServerLink, known: boolean): void {
    let verdict = this.#verdict(tokens, link, known)
    while (verdict.kind === 'refuse' && verdict.code !== 'LIMIT' && !this.draining) {
      const unused = leastUsed(this.#uses(link))
      if (!unused) break
      const { log } = this.#options
      const { served } = unused
      // Removed from the table at once; its memory is freed or kept later.
      this.drop(served, 'made room').catch((error: unknown) => {
        log.warn(toAppError(error).message)
      })
      verdict = this.#verdict(tokens, link, known)
    }
    if (verdict.kind === 'admit') return
    throw new AppError(verdict.code, `The session was refused: ${verdict.why}`, {
      retryable: true,
      retryAfterMs: verdict.retryAfterMs
    })
  }

  #verdict(tokens: number, link: ServerLink, known: boolean): Admission {
    const { peer } = link
    const origin = originOf(link)
    const state = {
      promisedTokens: this.table.promisedTokens,
      capacityTokens: this.#options.capacityTokens,
      sessionsOfPeer: known ? 0 : this.table.countOf(peer),
      sessionsOfHost: known ? 0 : this.table.countFrom(origin),
      sessions: known ? 0 : this.table.size,
      draining: this.draining && !known,
      promisedToPeer: this.table.promisedTo(origin),
      freeIn: {
        tokens: (count: number) => this.#freeIn(count, ({ maxTokens }) => maxTokens),
        session: () => this.#freeIn(1, () => 1),
        ofPeer: () => this.#freeIn(1, ({ owner }) => (owner.peer === peer ? 1 : 0)),
        ofHost: () => this.#freeIn(1, ({ owner }) => (originOf(owner) === origin ? 1 : 0))
      }
    }
    return admit(tokens, state, this.#options.limits)
  }

  /** How other peers' sessions are used. */
  #uses(
    but?: ServerLink
  ): { served: ServedSession; origin: string; peer: string; idleMs: number }[] {
    const now = this.#clock.now()
    return this.table
      .all()
      .filter(({ owner }) => owner !== but)
      .map((served) => ({
        served,
        origin: originOf(served.owner),
        peer: served.owner.peer,
        idleMs: this.#options.steps.has(served) ? 0 : now - served.usedAt
      }))
  }

  /**
   * When ending sessions are expected to have freed `count` in total; `frees` says how much each
   * does.
   */
  #freeIn(count: number, frees: (served: ServedSession) => number): number {
    const now = this.#clock.now()
    const held = this.table.all().map((served) => ({
      tokens: frees(served),
      ageMs: now - served.openedAt,
      idleMs: now - served.usedAt
    }))
    return freeInMs(count, held, {
      ended: this.#lives,
      // After that it may be closed for another peer.
      idleLimitMs: Math.min(this.#options.idleMs, GIVE_UP_MS)
    })
  }

  #remove(served: ServedSession): void {
    this.table.remove(served)
    if (served.compute !== undefined) this.#lives.push(this.#clock.now() - served.openedAt)
    if (this.#lives.length > MAX_LIVES) this.#lives.shift()
    if (this.table.size === 0) for (const wake of this.#idle.splice(0)) wake()
  }
}

/** The message with bytes of its own: those of a frame do not stay. */
function own(message: OpenSession): OpenSession {
  const { adapters, prefix } = message
  if (adapters === undefined) return message
  return {
    ...message,
    adapters: adapters.map(({ id, weight }) => ({ id: id.slice(), weight })),
    session: message.session.slice(),
    model: message.model.slice(),
    ...(prefix === undefined
      ? {}
      : { prefix: prefix.map(({ length, label }) => ({ length, label: label.slice() })) })
  }
}
