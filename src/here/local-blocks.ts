// Blocks of a model that this process computes itself, off the wire: loaded, offered to the client
// room through loopback links, and closed with it. Created by the CLI and the API. Knows no swarm.
import type { BlockSpan } from '../base/block-span.ts'
import { toHex } from '../base/bytes.ts'
import { systemClock, type Clock } from '../base/clock.ts'
import { closed, toAppError, type AppError } from '../base/errors.ts'
import { silentLog, type Log } from '../base/log.ts'
import { Resource } from '../base/resource.ts'
import { buildInfo } from '../base/version.ts'
import { sizesOf } from '../blocks/sizes.ts'
import type { ComputeApi, Quant, SpanInfo } from '../blocks/types.ts'
import type { ClientLink, SessionEvents } from '../client/route/links.ts'
import type { LocalServers } from '../client/route/local-servers.ts'
import type { FetchedBytes, Model } from '../model/types.ts'
import { describeSpan } from '../server/describe.ts'
import { sessionTokens } from '../server/placement/budget.ts'
import { adapterMemory, fetchBlocks } from '../server/serving.ts'
import { BlockServer } from '../server/sessions/block-server.ts'
import type { ServerInfo, StepResult } from '../wire/types.ts'
import { doesNotFit, fitHere } from './fit-here.ts'
import { openLoopback, type Loopback } from './loopback.ts'

/**
 * 'all': every block, and no server is asked for any. A span: only these blocks, which no server is
 * asked for. 'auto': what fits and nobody serves.
 */
export type HerePlan = 'all' | 'auto' | BlockSpan

export interface LocalBlocksOptions {
  compute: ComputeApi
  /** The caller closes it, after this. */
  model: Model
  plan: HerePlan
  /** Default 'native'. */
  quant?: Quant
  clock?: Clock
  log?: Log
  signal?: AbortSignal | undefined
  /** Called when the blocks that are computed here have changed. */
  onchange?: (spans: readonly BlockSpan[]) => void
  /** Called with what is being done, for a progress line. */
  onstage?: (stage: string) => void
  /** Called while weights are fetched. */
  onfetch?: (progress: FetchedBytes) => void
}

/** Local blocks may stand between the blocks of this many other servers in a route. */
const KEYS = 8
/** All sessions belong to one user, so only memory limits them. */
const LIMITS = { sessionsPerPeer: 1024, sessionsPerHost: 1024, sessions: 1024 }
/** Assumed until a block was timed here: bytes of weights that a slow machine reads per second. */
const BYTES_PER_S = 8e9
/** Least time of a block, for work other than reading weights. */
const LEAST_BLOCK_MS = 0.05
/** Weight of a new measurement in the moving average. */
const ALPHA = 0.2

interface Served {
  readonly span: SpanInfo
  readonly server: BlockServer
  readonly loopback: Loopback
  readonly keys: readonly Uint8Array[]
  /** Time of one block for one token, ms. */
  blockMs: number
}

export class LocalBlocks extends Resource implements LocalServers {
  readonly #options: LocalBlocksOptions
  readonly #quant: Quant
  readonly #clock: Clock
  readonly #log: Log
  readonly #listeners = new Map<string, SessionEvents>()
  readonly #stop = new AbortController()
  #served: readonly Served[] = []
  /** Blocks are loaded one after another. */
  #filling: Promise<unknown> = Promise.resolve()

  constructor(options: LocalBlocksOptions) {
    super()
    this.#options = options
    this.#quant = options.quant ?? 'native'
    this.#clock = options.clock ?? systemClock
    this.#log = options.log ?? silentLog
  }

  /** Blocks that are computed here now. */
  get spans(): readonly BlockSpan[] {
    return this.#served.map(({ span: { start, end } }) => ({ start, end }))
  }

  get kept(): BlockSpan | undefined {
    const { plan, model } = this.#options
    if (plan === 'auto') return undefined
    return plan === 'all' ? { start: 0, end: model.config.blockCount } : plan
  }

  get infos(): readonly ServerInfo[] {
    return this.#served.flatMap((one) => one.keys.map((key) => this.#describe(one, key)))
  }

  connect(peer: string): ClientLink | undefined {
    const links = this.#served.flatMap(({ loopback }) => loopback.links)
    return links.find((link) => link.peer === peer)
  }

  spanOf(peer: string): SpanInfo | undefined {
    return this.#served.find(({ keys }) => keys.some((key) => toHex(key) === peer))?.span
  }

  listen(session: Uint8Array, events: SessionEvents): () => void {
    const id = toHex(session)
    this.#listeners.set(id, events)
    return () => void this.#listeners.delete(id)
  }

  fillGaps(gaps: readonly BlockSpan[], signal?: AbortSignal): Promise<AppError | undefined> {
    const filling = this.#filling.then(() => this.#fillGaps(gaps, signal))
    this.#filling = filling.catch(() => {})
    return filling
  }

  /** Also cancels loading. */
  override close(): Promise<void> {
    this.#stop.abort()
    return super.close()
  }

  protected override async _open(): Promise<void> {
    const { kept } = this
    if (kept) return this.#load(kept)
    const { model } = this.#options
    const all = { start: 0, end: model.config.blockCount }
    const { lackBytes, fetchBytes } = await this.#fit(all)
    // Others may serve sooner what would have to be fetched here first.
    if (lackBytes > 0 || fetchBytes > 0) return
    await this.#load(all).catch((error: unknown) => {
      const { code, message } = toAppError(error)
      if (code === 'CANCELLED') throw error
      // Others may serve them.
      this.#log.warn(`blocks 0:${all.end} do not run here: ${message}`)
    })
  }

  protected override async _close(): Promise<void> {
    await this.#filling
    const { compute } = this.#options
    for (const { loopback, server, span } of this.#served) {
      loopback.close()
      for (const link of loopback.links) {
        const why = closed('The blocks are not computed here any more')
        for (const events of this.#listeners.values()) events.ondisconnect(link, why)
      }
      await server.close()
      await compute.unloadSpan(span.span)
    }
    this.#served = []
  }

  async #fillGaps(
    gaps: readonly BlockSpan[],
    signal: AbortSignal | undefined
  ): Promise<AppError | undefined> {
    await this.ready()
    if (this.kept || this.closing) return undefined
    let failure: AppError | undefined
    for (const gap of gaps) {
      // Another session may have asked for the same.
      if (this.spans.some(({ start, end }) => start <= gap.start && end >= gap.end)) continue
      try {
        await this.#load(gap, signal)
      } catch (error) {
        failure ??= toAppError(error)
        if (failure.code === 'CANCELLED') throw failure
      }
    }
    return failure
  }

  async #fit(span: BlockSpan): Promise<ReturnType<typeof fitHere>> {
    const { compute, model } = this.#options
    const { freeBytes } = await compute.stats()
    return fitHere(model, this.#quant, span, freeBytes)
  }

  async #load(range: BlockSpan, stop?: AbortSignal): Promise<void> {
    const { compute, model, onstage = () => {}, onfetch, onchange } = this.#options
    const stops = [this.#stop.signal, this.#options.signal, stop]
    const signal = AbortSignal.any(stops.filter((one) => one !== undefined))
    const fitting = await this.#fit(range)
    if (fitting.lackBytes > 0) throw doesNotFit(model, this.#quant, range, fitting)
    await fetchBlocks(range, { model, signal, onstage, onfetch })
    const { start, end } = range
    const quant = this.#quant
    onstage(`loading blocks ${start}:${end}`)
    const span = await compute.loadSpan({ location: model.location, start, end, quant }, signal)
    try {
      this.#served = [...this.#served, await this.#serve(span)]
    } catch (error) {
      await compute.unloadSpan(span.span)
      throw error
    }
    onchange?.(this.spans)
  }

  async #serve(span: SpanInfo): Promise<Served> {
    const { compute, model } = this.#options
    const { freeBytes } = await compute.stats()
    const blocks = span.end - span.start
    const sizes = sizesOf(model.config, model.tensors, this.#quant)
    const limitBytes = span.adapts === true ? adapterMemory(freeBytes) : 0
    const keys = Array.from({ length: KEYS }, () => crypto.getRandomValues(new Uint8Array(32)))
    const server = new BlockServer({
      compute,
      span,
      model: model.contentId,
      self: keys[0] ?? new Uint8Array(32),
      capacityTokens: sessionTokens(sizes, blocks, freeBytes - limitBytes),
      adapters: { config: model.config, limitBytes },
      reach: async () => Promise.reject(closed('Blocks computed here push to no server')),
      limits: LIMITS,
      queuePerPeer: Infinity,
      clock: this.#clock,
      log: this.#log
    })
    await server.ready()
    const blockMs = LEAST_BLOCK_MS + (span.weightBytes / blocks / BYTES_PER_S) * 1000
    const loopback = openLoopback({
      server,
      keys,
      infoOf: (key) => this.#describe(served, key),
      listener: (session) => this.#listeners.get(toHex(session)),
      onresult: (message) => note(served, message),
      log: this.#log
    })
    const served: Served = { span, server, loopback, keys, blockMs }
    return served
  }

  #describe({ span, server, blockMs }: Served, peer: Uint8Array): ServerInfo {
    const { model } = this.#options
    const decode = 1000 / blockMs
    const info = describeSpan({
      model,
      span,
      quant: this.#quant,
      speed: { decode, prefill: decode },
      freeTokens: server.freeTokens,
      adapters: server.announcedAdapters,
      trains: span.trains === true,
      version: buildInfo().version
    })
    return { ...info, peer, issuedAt: this.#clock.wall(), expiresAt: Infinity }
  }
}

/** Learns how long a block takes for one token. */
function note(served: Served, { session, count, trace }: StepResult): void {
  const ran = served.server.sessions.get(session)
  const computeMs = trace.at(-1)?.status.computeMs
  if (count !== 1 || !ran || computeMs === undefined) return
  const blockMs = computeMs / (ran.end - ran.start)
  served.blockMs += ALPHA * (blockMs - served.blockMs)
}
