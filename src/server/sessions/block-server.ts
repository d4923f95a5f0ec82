// Serves one span: turns the messages of peers into sessions, steps and answers. Called by host.ts,
// which connects its handlers to links. Knows no terminal and no DHT: a connection is a ServerLink,
// and another server is reached through `reach`.
// way of a step: step() -> check.ts -> run-step.ts -> ComputeApi.step (the scheduler) -> client or
// push.ts
// way of a session: open() -> check.ts -> session-keeper.ts -> ComputeApi.openSession -> drop()
import { systemClock, type Clock } from '../../base/clock.ts'
import { toAppError, unsupported, type AppError } from '../../base/errors.ts'
import { silentLog, type Log } from '../../base/log.ts'
import { Resource } from '../../base/resource.ts'
import type { ComputeApi, SpanInfo } from '../../blocks/types.ts'
import type { ModelConfig } from '../../model/types.ts'
import type { AdapterSource } from '../../weights/adapters/adapter-pack.ts'
import type {
  CancelStep,
  CloseSession,
  KeepPrefix,
  OpenSession,
  ServerStatus,
  Step
} from '../../wire/types.ts'
import { toWire } from '../../wire/peer-error.ts'
import type { AdmissionLimits } from './admission.ts'
import { AdapterKeeper } from '../adapters/adapter-keeper.ts'
import { checkStep } from './check.ts'
import { ServerEvents } from '../events.ts'
import type { Reach, ServerLink } from '../links.ts'
import { PrefixKeeper } from './prefix-keeper.ts'
import type { KeepLimits } from './prefix-policy.ts'
import { Pusher } from './push.ts'
import { StepRunner } from './run-step.ts'
import { SessionKeeper } from './session-keeper.ts'
import type { SessionTable } from './sessions.ts'
import { StepsUnderWay } from './steps-under-way.ts'

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
  /** Default: 16 sessions per peer, 128 per address, 256 in all. */
  limits?: AdmissionLimits
  /** A peer with more waiting steps is answered BUSY. Default 128. */
  queuePerPeer?: number
  /**
   * A session without a step for this long is closed, ms; its client can replay it. Default 30 min.
   */
  idleMs?: number
  /** Limits of kept prefixes. Default: see prefix-keeper.ts; 0 tokens: none are kept. */
  keep?: Partial<KeepLimits> | undefined
  /** Sessions may run with adapters. Default: none can. */
  adapters?:
    | {
        readonly config: ModelConfig
        /** Most memory for them, bytes. */
        readonly limitBytes: number
        /** What the peer of a link gives. Default: only what is in this process. */
        readonly sourceOf?: ((link: ServerLink) => AdapterSource | undefined) | undefined
      }
    | undefined
  /** Hears of sessions, steps and refusals. Default: counts them for nobody. */
  events?: ServerEvents | undefined
  clock?: Clock
  log?: Log
}

export class BlockServer extends Resource {
  readonly span: SpanInfo
  /** KV tokens that all sessions together may hold. */
  readonly capacityTokens: number
  /** Undefined where sessions cannot run with adapters. */
  readonly adapters: AdapterKeeper | undefined
  readonly #clock: Clock
  readonly #events: ServerEvents
  readonly #keeper: SessionKeeper
  readonly #prefixes: PrefixKeeper
  readonly #steps: StepsUnderWay
  readonly #runner: StepRunner
  readonly #pusher: Pusher

  constructor(options: BlockServerOptions) {
    super()
    const { compute, span, model, self, capacityTokens } = options
    const { clock = systemClock, log = silentLog } = options
    this.span = span
    this.capacityTokens = capacityTokens
    this.#clock = clock
    const events = (this.#events = options.events ?? new ServerEvents({ clock }))
    this.#pusher = new Pusher(options.reach, { clock })
    this.#steps = new StepsUnderWay({ now: () => clock.now(), perPeer: options.queuePerPeer })
    this.#prefixes = new PrefixKeeper({
      compute,
      span,
      capacityTokens,
      limits: options.keep,
      promised: () => this.sessions.promisedTokens,
      clock,
      log
    })
    const { adapters } = options
    this.adapters =
      adapters &&
      new AdapterKeeper({
        compute,
        span,
        model,
        config: adapters.config,
        limitBytes: adapters.limitBytes,
        forget: (name) => this.#prefixes.forgetAdapter(name),
        clock,
        log
      })
    this.#keeper = new SessionKeeper({
      compute,
      span,
      model,
      capacityTokens,
      limits: options.limits ?? { sessionsPerPeer: 16, sessions: 256 },
      prefixes: this.#prefixes,
      adapters: async (link, message) => {
        const source = link.adaptersOf?.(message.session) ?? adapters?.sourceOf?.(link)
        if (this.adapters === undefined || source === undefined) {
          throw unsupported('The session was refused: this server cannot use adapters')
        }
        return this.adapters.take(message.adapters ?? [], source)
      },
      idleMs: options.idleMs ?? 30 * 60_000,
      events,
      clock,
      log,
      steps: this.#steps,
      ondrop: (served) => this.#pusher.forget(served.id)
    })
    this.#runner = new StepRunner({
      compute,
      self,
      steps: this.#steps,
      freeOne: () => this.#prefixes.freeOne(),
      pusher: this.#pusher,
      events,
      clock,
      log,
      status: (computeMs, queueMs) => this.status(computeMs, queueMs),
      refuse: (link, step, error) => {
        events.refused(link.peer, 'a step', error)
        this.#refuse(link, step.session, step.step, error)
      }
    })
  }

  get sessions(): SessionTable {
    return this.#keeper.table
  }

  /** Beginnings of ids of adapters that are here for everybody; undefined: none can be used. */
  get announcedAdapters(): readonly Uint8Array[] | undefined {
    return this.adapters?.isAble === true ? this.adapters.announced : undefined
  }

  /** Counts of kept prefixes and of sessions that used them. */
  get kept(): { prefixes: number; tokens: number; hits: number; hitTokens: number } {
    const { kept, hits, hitTokens } = this.#prefixes
    return { ...kept, hits, hitTokens }
  }

  get freeTokens(): number {
    return this.#keeper.freeTokens
  }

  /** Whether new sessions are refused. */
  get draining(): boolean {
    return this.#keeper.draining
  }

  set draining(draining: boolean) {
    this.#keeper.draining = draining
  }

  status(computeMs = 0, queueMs = 0): ServerStatus {
    return { queue: this.#steps.size, freeTokens: this.freeTokens, computeMs, queueMs }
  }

  /** Opens a session, or changes what its owner's open session is promised. */
  async open(link: ServerLink, message: OpenSession): Promise<void> {
    const session = message.session.slice()
    try {
      const held = await this.#keeper.open(link, message)
      const opened = { session, status: this.status() }
      const { adaptersKey = '' } = this.sessions.get(session) ?? {}
      link.opened({
        ...opened,
        ...(held > 0 ? { held } : {}),
        ...(adaptersKey === '' ? {} : { adapted: true })
      })
    } catch (error) {
      const refusal = toAppError(error)
      this.#events.refused(link.peer, 'a session', refusal)
      this.#refuse(link, session, -1, refusal)
    }
  }

  /**
   * Accepts a step: queues it, or answers with an error. Resolves when the step's bytes are no
   * longer needed; never rejects.
   * @param onaccepted called at once if it will be run
   */
  step(link: ServerLink, step: Step, onaccepted: () => void = () => {}): void | Promise<void> {
    try {
      const served = this.sessions.get(step.session)
      if (served && step.step <= served.lastStep) return
      checkStep(step, served, this.span.hiddenSize)
      if (!served) return
      this.#steps.checkRoom(served.owner.peer)
      onaccepted()
      served.lastStep = step.step
      served.usedAt = this.#clock.now()
      served.marks.onstep(step.step, step.start, step.count)
      return this.#runner.run(served, step)
    } catch (error) {
      const refusal = toAppError(error)
      this.#events.refused(link.peer, 'a step', refusal)
      this.#refuse(link, step.session, step.step, refusal)
    }
  }

  cancel(link: ServerLink, message: CancelStep): void {
    const served = this.sessions.get(message.session)
    if (!served || served.owner !== link) return
    this.#steps.cancel(served, message.step)
    this.#pusher.forget(served.id, message.step)
  }

  /** Names prefixes of a session, under which they may be kept when it ends. */
  keep(link: ServerLink, message: KeepPrefix): void {
    const served = this.sessions.get(message.session)
    if (!served || served.owner !== link || served.forget) return
    served.marks.name(message, Buffer.from(link.peer, 'hex'), served.length)
  }

  async closeSession(link: ServerLink, message: CloseSession): Promise<void> {
    const served = this.sessions.get(message.session)
    if (served && served.owner === link) await this.#keeper.drop(served, 'done')
  }

  /** Frees everything that a connection owned. */
  async disconnected(link: ServerLink): Promise<void> {
    const owned = this.sessions.ownedBy(link)
    await Promise.all(owned.map((served) => this.#keeper.drop(served, 'client gone')))
  }

  /** The next server refused a pushed step: the error goes to the client that owns the session. */
  pushRefused(session: Uint8Array, step: number, error: AppError): void {
    const served = this.sessions.get(session)
    if (served) this.#refuse(served.owner, session, step, error)
  }

  /** Refuses new sessions and resolves when the open ones are gone. */
  async drain(signal: AbortSignal): Promise<void> {
    this.draining = true
    await this.#keeper.drained(signal)
  }

  /** Tells the clients of all open sessions to fail over, and closes these sessions. */
  async dismiss(why: AppError): Promise<void> {
    this.draining = true
    const all = this.sessions.all()
    // The client waits for the answer of a running step; it ignores errors of other steps.
    for (const served of all) this.#refuse(served.owner, served.id, served.lastStep, why)
    await Promise.all(all.map((served) => this.#keeper.drop(served, 'server stops')))
  }

  protected override async _open(): Promise<void> {
    this.#keeper.sweep()
  }

  protected override async _close(): Promise<void> {
    this.#steps.cancelAll()
    await this.#keeper.close()
    this.#pusher.close()
  }

  #refuse(link: ServerLink, session: Uint8Array, step: number, error: AppError): void {
    const about = session.byteLength === 16 ? { session } : {}
    link.error(toWire(error, { ...about, step, status: this.status() }))
  }
}
