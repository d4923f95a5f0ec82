// Serves a span over a node: loads the blocks, measures them, announces them, and leaves the swarm
// in order. Called by cli/run/join.ts. Knows no terminal.
import type { BlockSpan } from '../base/block-span.ts'
import { toHex } from '../base/bytes.ts'
import { deadline, systemClock, type Clock } from '../base/clock.ts'
import { toAppError, type AppError } from '../base/errors.ts'
import { silentLog, type Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import { Resource } from '../base/resource.ts'
import type { ComputeApi, KvType, Quant, SpanInfo } from '../blocks/types.ts'
import type { FetchedBytes, Model } from '../model/types.ts'
import type { NamedModel } from '../swarm/private/capability.ts'
import { find } from '../swarm/directory.ts'
import type { SwarmNode } from '../swarm/node.ts'
import type { ServerInfo } from '../wire/types.ts'
import { blocksThatFit, checkFits } from './placement/budget.ts'
import { notServing, dispatchMessages } from './sessions/message-dispatch.ts'
import { ServerEvents, type EventListener } from './events.ts'
import type { SwarmMonitor } from './placement/swarm-monitor.ts'
import type { Speed } from './measure.ts'
import { MemberGate } from './sessions/member-gate.ts'
import type { PlacementOptions } from './placement/rebalancer.ts'
import { Advertisement } from './advertisement.ts'
import { joinSpan } from './placement/plan.ts'
import {
  closeServing,
  fetchBlocks,
  missingBytes,
  openServing,
  type Serving,
  type ServingOptions
} from './serving.ts'
import type { TrainLimits } from './training/train-server.ts'
import { SessionTable } from './sessions/sessions.ts'
import { giverOf } from '../weights/adapters/adapter-giver.ts'
import type { AdapterPack } from '../weights/adapters/adapter-pack.ts'
import { askingSource } from '../weights/adapters/ask-adapter.ts'
import { WeightAsker } from '../weights/weight-asker.ts'
import { PeerLink } from '../wire/link.ts'
import { watchOthers, type Moving } from './placement/watch-others.ts'

export interface HostOptions {
  compute: ComputeApi
  /** The host closes it. */
  model: Model
  /**
   * Blocks [start, end), which then never change. Default: as many as fit, where the swarm is
   * weakest; the host moves when another place becomes weaker.
   */
  blocks?: BlockSpan | undefined
  quant: Quant
  /** How keys and values are held. Default: see SpanOptions. */
  kv?: KvType | undefined
  /** Memory for kept prefixes, taken from the memory of sessions, in bytes. Default: half of it. */
  keepBytes?: number | undefined
  /** Memory for adapters, in bytes; 0: sessions cannot use any. Default: see adapterMemory(). */
  adapterBytes?: number | undefined
  /** Adapters that are loaded at once and given to everybody who knows their ids. */
  adapters?: readonly AdapterPack[] | undefined
  /** Memory of training steps; false: none are taken. Default: see train-server.ts. */
  training?: TrainLimits | false | undefined
  /**
   * Free disk space for weights that must be fetched, in bytes; used when the host chooses its
   * blocks. Default: no limit.
   */
  diskBytes?: number | undefined
  /** The model as it was typed, for people. Default: as its file calls it. */
  name?: string
  /**
   * What the swarm is told that the model is called, never a path of this machine. Default: as its
   * file calls it.
   */
  publicName?: string | undefined
  /** Other names of the model. An invite may use any of them. */
  aliases?: readonly string[]
  /** Node to serve over. The caller closes it, after the host. */
  node: SwarmNode
  /**
   * How long closing waits for open sessions, ms. Default 0: clients fail over to other servers.
   */
  drainMs?: number
  /** Mean time between two looks at the other servers, ms. Default 60,000. */
  everyMs?: number
  /** When to move to other blocks, and how long to wait before a move. */
  placement?: PlacementOptions
  random?: Random
  clock?: Clock
  log?: Log
  signal?: AbortSignal | undefined
  /** Hears of each session and step, e.g. for metrics. */
  listener?: EventListener | undefined
  /** Called whenever the host starts to serve a span. */
  onserving?: (span: SpanInfo, speed: Speed) => void
  /** Called with what is being done, for a progress line. */
  onstage?: (stage: string) => void
  /** Called while weights are fetched. */
  onfetch?: (progress: FetchedBytes) => void
}

const NO_SESSIONS = new SessionTable()
/** A client that gives an adapter may have steps of others on its way. */
const ADAPTER_SILENCE_MS = 20_000
/** Numbers of requests for adapters begin here: those for weights have others. */
const ADAPTER_REQUESTS = 2 ** 40

/** Load of a host. */
export interface HostLoad {
  readonly sessions: number
  readonly promisedTokens: number
  /** KV tokens that all sessions together may hold; 0 while blocks are loaded. */
  readonly capacityTokens: number
  /** Steps that wait or run. */
  readonly queue: number
  readonly links: number
  /** Kept prefixes, and the tokens that their memory could hold. */
  readonly keptPrefixes: number
  readonly keptTokens: number
  /** Sessions that began with a kept prefix. */
  readonly prefixHits: number
}

export class Host extends Resource {
  /** What happens here, counted and told. */
  readonly events: ServerEvents
  readonly #options: HostOptions
  readonly #clock: Clock
  readonly #log: Log
  readonly #node: SwarmNode
  readonly #stopHandling: readonly (() => void)[]
  readonly #stopOffering: () => void
  /** Asks clients for their sessions' adapters. */
  readonly #asker: WeightAsker
  /** Aborts the loading of blocks. */
  readonly #stop = new AbortController()
  readonly #failed = Promise.withResolvers<AppError>()
  /** Undefined while blocks are loaded. */
  #serving: Serving | undefined
  /** Set in a private swarm. */
  #gate: MemberGate | undefined
  #advertisement: Advertisement | undefined
  #monitor: SwarmMonitor | undefined
  #moving: Promise<unknown> = Promise.resolve()
  #fetchedBytes = 0

  constructor(options: HostOptions) {
    super()
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#log = options.log ?? silentLog
    this.#node = options.node
    const { listener } = options
    this.events = new ServerEvents({ clock: this.#clock, log: this.#log, listener })
    this.#asker = new WeightAsker(this.#clock, ADAPTER_SILENCE_MS, ADAPTER_REQUESTS)
    const { adapters = [] } = options
    const offered = giverOf(this.#node, this.#clock).offer((id) =>
      adapters.find(({ name }) => name === id)
    )
    this.#stopHandling = [
      dispatchMessages({
        server: () => this.#serving?.server,
        trainer: () => this.#serving?.trainer,
        gate: () => this.#gate,
        ongone: (peer) => this.#monitor?.gone(peer),
        events: this.events,
        log: this.#log
      }),
      this.#asker.handlers
    ].map((handlers) => this.#node.handle(handlers))
    this.#stopOffering = offered
  }

  /** @throws TypeError while blocks are loaded */
  get span(): SpanInfo {
    if (!this.#serving) throw new TypeError('The host is not ready')
    return this.#serving.span
  }

  get speed(): Speed {
    if (!this.#serving) throw new TypeError('The host is not ready')
    return this.#serving.speed
  }

  /** What is served now; undefined while blocks are loaded. */
  get serving(): Pick<Serving, 'span' | 'speed' | 'server'> | undefined {
    return this.#serving
  }

  get peer(): string {
    return this.#node.peer
  }

  /** The current load. */
  get load(): HostLoad {
    const { size = 0, promisedTokens = 0 } = this.#serving?.server.sessions ?? {}
    const links = [...this.#node.links].length
    const { queue = 0 } = this.#serving?.server.status() ?? {}
    const { prefixes = 0, tokens = 0, hits = 0 } = this.#serving?.server.kept ?? {}
    const kept = { keptPrefixes: prefixes, keptTokens: tokens, prefixHits: hits }
    const { capacityTokens = 0 } = this.#serving?.server ?? {}
    return { sessions: size, promisedTokens, capacityTokens, queue, links, ...kept }
  }

  /** Whether it takes new sessions. */
  get state(): 'loading' | 'serving' | 'draining' {
    if (this.closing || this.#serving?.server.draining) return 'draining'
    return this.#serving && this.opened ? 'serving' : 'loading'
  }

  /** Resolves with the reason when a move failed and no blocks are left to serve. */
  get failed(): Promise<AppError> {
    return this.#failed.promise
  }

  protected override async _open(): Promise<void> {
    const { compute, model, blocks, signal, onstage = () => {} } = this.#options
    const node = this.#node
    const { membership } = node
    const named: NamedModel = {
      id: toHex(model.contentId),
      names: [model.config.name, ...(this.#options.aliases ?? [])]
    }
    membership?.require('serve', named)
    const length = await this.#fitting()
    if (membership) this.#gate = this.#makeGate(node, named)
    onstage('joining the swarm')
    const { blockCount } = model.config
    const { name = model.config.name } = this.#options
    this.events.tell('joining', `to serve ${length} of the ${blockCount} blocks of ${name}`, {
      model: name,
      peer: node.peer
    })
    await node.ready()
    const sole = node.requireSoleKey()
    // Handled below.
    sole.catch(() => {})
    const found = blocks ? [] : await find(node, model.contentId, blockCount, { signal })
    const range = blocks ?? joinSpan(found, blockCount, length)
    const serving = this.#servingOptions(node, named)
    const advertisement = this.#makeAdvertisement(node, range, found)
    this.#advertisement = advertisement
    const opened = this.#fetch(range, serving).then(() => openServing(range, serving))
    const announced = sole.then(() => (blocks ? undefined : advertisement.loading()))
    const [one] = await Promise.all([opened, announced]).catch(async (error: unknown) => {
      this.#stop.abort()
      await opened.then((late) => closeServing(late, compute)).catch(() => {})
      throw error
    })
    this.#serving = one
    onstage('announcing')
    await advertisement.serving(one)
    this.#monitor = watchOthers({
      node,
      named,
      advertisement,
      contentId: model.contentId,
      moving: blocks ? undefined : this.#moves(advertisement, serving),
      everyMs: this.#options.everyMs,
      random: this.#options.random,
      clock: this.#clock,
      log: this.#log
    })
    this.#monitor.start()
  }

  protected override async _close(): Promise<void> {
    const { drainMs = 0, model, compute } = this.#options
    this.#advertisement?.close()
    this.#monitor?.close()
    // Wait until a move that has begun is finished or undone; it uses what is closed next.
    await this.#moving.catch(() => {})
    const server = this.#serving?.server
    if (this.#advertisement) {
      if (server) server.draining = true
      const { size = 0 } = server?.sessions ?? {}
      if (drainMs > 0 && size > 0) {
        const seconds = drainMs / 1000
        const message = `${size} open sessions have ${seconds} s to go elsewhere`
        this.events.tell('draining', message, { sessions: size, seconds })
      }
      const leaving = this.#node.leave().catch((error: unknown) => {
        this.#log.warn(`leaving was not heard by the swarm: ${toAppError(error).message}`)
      })
      if (drainMs > 0) await server?.drain(AbortSignal.timeout(drainMs))
      await deadline(leaving, 5_000, { clock: this.#clock }).catch(() => {})
    }
    if (this.#serving) await closeServing(this.#serving, compute)
    for (const stop of this.#stopHandling) stop()
    this.#stopOffering()
    if (this.opened) this.events.finished()
    model.close()
  }

  /** How many blocks to serve. @throws AppError NO_MEMORY, UNAVAILABLE with the numbers */
  async #fitting(): Promise<number> {
    const { compute, model, quant, kv, blocks, diskBytes } = this.#options
    const holding = { quant, kv }
    const { freeBytes } = await compute.stats()
    if (!blocks) return blocksThatFit(model, holding, { memoryBytes: freeBytes, diskBytes })
    checkFits(model, holding, blocks, freeBytes)
    return blocks.end - blocks.start
  }

  #servingOptions(node: SwarmNode, serves: NamedModel): ServingOptions {
    const { compute, model, quant, kv, keepBytes, training, signal } = this.#options
    const { onstage = () => {} } = this.#options
    return {
      compute,
      model,
      quant,
      kv,
      self: node.key,
      reach: (peer, abort) => node.connect(peer, { signal: abort, serves }),
      keepBytes,
      adapterBytes: this.#options.adapterBytes,
      adapters: this.#options.adapters,
      sourceOf: (link) => (link instanceof PeerLink ? askingSource(this.#asker, link) : undefined),
      training,
      events: this.events,
      clock: this.#clock,
      log: this.#log,
      signal: signal ? AbortSignal.any([signal, this.#stop.signal]) : this.#stop.signal,
      onstage,
      onfetch: this.#options.onfetch
    }
  }

  #makeAdvertisement(
    node: SwarmNode,
    range: BlockSpan,
    others: readonly ServerInfo[]
  ): Advertisement {
    const { model, quant, blocks, publicName } = this.#options
    return new Advertisement(range, others, {
      model,
      name: publicName,
      quant,
      fixed: blocks !== undefined,
      self: node.key,
      serve: (info) => node.serve(info),
      update: (info) => node.update(info),
      freeTokens: () => this.#serving?.server.freeTokens ?? 0,
      adapters: () => this.#serving?.server.announcedAdapters,
      trains: () => this.#serving && this.#serving.trainer !== undefined,
      clock: this.#clock
    })
  }

  #makeGate(node: SwarmNode, model: NamedModel): MemberGate {
    const sessions = (): SessionTable => this.#serving?.server.sessions ?? NO_SESSIONS
    return new MemberGate({
      memberOf: (link) => node.memberOf(link),
      model,
      get sessions() {
        return sessions()
      },
      clock: this.#clock
    })
  }

  #moves(advertisement: Advertisement, serving: ServingOptions): Moving {
    const { model, diskBytes = Infinity, placement } = this.#options
    return {
      sessions: () => this.load.sessions,
      fits: (range) => missingBytes(model, range) <= diskBytes - this.#fetchedBytes,
      fetch: (range, signal) => this.#fetch(range, { ...serving, signal }),
      drain: (draining) => {
        const server = this.#serving?.server
        if (server) server.draining = draining
      },
      change: (range) => this.#change(range, advertisement, serving),
      onmoving: (moving) => (this.#moving = moving),
      placement
    }
  }

  /** Fetches the weights of a span and subtracts them from the free disk space. */
  async #fetch(range: BlockSpan, serving: ServingOptions): Promise<void> {
    this.#fetchedBytes += missingBytes(this.#options.model, range)
    await fetchBlocks(range, serving)
  }

  /** Serves other blocks. If they cannot be loaded, serves the old ones again and rejects. */
  async #change(
    range: BlockSpan,
    advertisement: Advertisement,
    options: ServingOptions
  ): Promise<void> {
    const { compute, onserving = () => {} } = this.#options
    const old = this.#serving
    if (!old) return
    const { start, end } = old.span
    advertisement.going({ ...range, inMs: 0, left: true })
    this.#serving = undefined
    let failure: unknown
    try {
      await old.server.dismiss(notServing())
      await closeServing(old, compute)
      this.#serving = await openServing(range, options).catch((error: unknown) => {
        failure = error
        return openServing({ start, end }, options)
      })
    } catch (error) {
      this.#failed.resolve(toAppError(error))
      throw error
    }
    await advertisement.serving(this.#serving)
    onserving(this.#serving.span, this.#serving.speed)
    if (failure !== undefined) throw failure
  }
}
