// A client of one model: decides how activations travel and how exact the head
// is, and opens sessions. Called by cli and api. Knows no terminal.
import { toHex } from '../base/bytes.ts'
import { systemClock, type Clock } from '../base/clock.ts'
import { noRoute, toAppError, type AppError } from '../base/errors.ts'
import { silentLog, type Log } from '../base/log.ts'
import { Resource } from '../base/resource.ts'
import type { ComputeApi } from '../blocks/types.ts'
import type { Family, Model, ModelConfig } from '../model/types.ts'
import { covered, gapsOf } from '../swarm/coverage.ts'
import type { SwarmNode } from '../swarm/node.ts'
import { giverOf, type AdapterGiver } from '../weights/adapters/adapter-giver.ts'
import type { AdapterPack } from '../weights/adapters/adapter-pack.ts'
import type { ServerInfo, WireDtype } from '../wire/types.ts'
import { swarmConnections, type SwarmConnections } from './connections.ts'
import { ServerFinder } from './server-finder.ts'
import { LocalModel } from './text/local-model.ts'
import type { Published } from './session/prefix-naming.ts'
import type { LocalServers } from './route/local-servers.ts'
import { PeerBook } from './route/peers.ts'
import type { RouteHop } from './route/route.ts'
import { SessionAdapters, type WeightedPack } from './session/session-adapters.ts'
import type { SessionOptions } from './session/session-options.ts'
import { InferenceSession } from './session/session.ts'

export interface ClientOptions {
  /** Node to use. The caller closes it, after the client. */
  node: SwarmNode
  compute: ComputeApi
  /**
   * What this process computes itself, over the same engine; its owner closes it, after the client.
   */
  here?: LocalServers | undefined
  /** The client closes it. */
  model: Model
  /** Other names of the model. An invite may use any of them. */
  aliases?: readonly string[]
  /** How activations travel. Default: see chooseDtype. */
  dtype?: WireDtype | undefined
  /** ARITHMETIC of this machine's kernels; servers with the same are preferred. */
  arithmetic?: string | undefined
  /** Default: 'f32' if the servers found compute in f32, else 'native'. */
  headQuant?: 'native' | 'f32' | undefined
  /**
   * The secret, 32 bytes, with which sessions are named and asked for again; false: servers keep
   * nothing. Default: a secret of this client, for its own sessions.
   */
  prefix?: PrefixSecret | false | undefined
  /** Longest first search for servers, ms. Default 3000. */
  findMs?: number
  clock?: Clock
  log?: Log
  signal?: AbortSignal | undefined
  onreroute?: (peer: string, why: AppError) => void
  /** See SessionOptions. */
  onwait?: (why: AppError | undefined, leftMs: number) => void
}

/** What a session reports when it avoids servers or waits for them. */
export type SessionEvents = Pick<SessionOptions, 'onreroute' | 'onwait'>

export interface PrefixSecret {
  readonly secret: Uint8Array
  /** Servers hand out what they kept for the last time and keep nothing more. Default false. */
  readonly forget?: boolean
}

/** Up to this width an f32 row is 8 KiB: exactness costs less than a millisecond at 100 Mbit/s. */
const EXACT_COLUMNS = 2048

/** The range of f32 in half its bytes. */
const WIDE: WireDtype = 'bf16'
/** Their activations are known to exceed 65,504, the largest value of f16. */
const WIDE_FAMILIES: ReadonlySet<Family> = new Set<Family>(['gemma2', 'gemma3'])

/**
 * f32 if servers compute in f32 or rows are small, so that results do not depend on how spans are
 * cut.
 */
export function chooseDtype(
  { hiddenSize, family }: Pick<ModelConfig, 'hiddenSize' | 'family'>,
  servers: readonly Pick<ServerInfo, 'quant'>[]
): WireDtype {
  const exact = servers.some((info) => info.quant === 'f32')
  if (exact || hiddenSize <= EXACT_COLUMNS) return 'f32'
  return WIDE_FAMILIES.has(family) ? WIDE : 'f16'
}

export class Client extends Resource {
  readonly book: PeerBook = new PeerBook()
  readonly #options: ClientOptions
  readonly #clock: Clock
  readonly #connections: SwarmConnections
  readonly #finder: ServerFinder
  #local: LocalModel | undefined
  #dtype: WireDtype | undefined
  readonly #prefix: PrefixSecret | undefined
  /** Adapters of its sessions, by id in hex. */
  readonly #packs = new Map<string, AdapterPack>()
  readonly #giver: AdapterGiver
  readonly #stopGiving: () => void

  constructor(options: ClientOptions) {
    super()
    this.#options = options
    this.#clock = options.clock ?? systemClock
    const { node, model, aliases = [], here } = options
    this.#giver = giverOf(node, this.#clock)
    this.#stopGiving = this.#giver.offer((id) => this.#packs.get(id))
    const serves = { id: toHex(model.contentId), names: [model.config.name, ...aliases] }
    this.#connections = swarmConnections(node, { serves, here })
    this.#finder = new ServerFinder({ ...options, book: this.book, clock: this.#clock })
    const { prefix = { secret: crypto.getRandomValues(new Uint8Array(32)) } } = options
    this.#prefix = prefix || undefined
  }

  /** Tokenizer, embedding and head; available after ready(). */
  get local(): LocalModel {
    if (!this.#local) throw new TypeError('The client is not ready')
    return this.#local
  }

  /**
   * A new session over servers of the swarm; the caller closes it.
   * @param published a prompt that sessions of several clients begin with
   * @param events told of this session's fail-overs. Default: the client's own listeners
   * @param adapters what it runs with, in the order in which they add. Default: nothing
   * @throws AppError BAD_INPUT for adapters that cannot be used together
   */
  async openSession(
    maxTokens = 512,
    published?: Published,
    events: SessionEvents = this.#options,
    adapters?: readonly WeightedPack[]
  ): Promise<InferenceSession> {
    const { config, contentId } = this.#options.model
    const own = this.#adaptersOf(adapters)
    const { onreroute, onwait } = events
    const session = new InferenceSession({
      connections: this.#connections,
      book: this.book,
      find: async (signal) => own.usable(await this.#finder.servers(signal)),
      look: async (signal) => own.able(await this.#finder.look(signal)),
      adapters: own.adapters,
      isGivingTo: (peer, since) => this.#giver.isGivingTo(peer, since),
      model: contentId,
      blockCount: config.blockCount,
      hiddenSize: config.hiddenSize,
      contextLength: config.contextLength,
      maxTokens,
      dtype: this.#dtype ?? 'f16',
      ...this.#widening(),
      arithmetic: this.#options.arithmetic,
      optimizer: this.#optimizing(),
      prefix: this.#prefix && { ...this.#prefix, published, stops: this.#local?.eosIds },
      clock: this.#clock,
      log: this.#options.log ?? silentLog,
      ...(onreroute ? { onreroute } : {}),
      ...(onwait ? { onwait } : {})
    })
    await session.ready()
    return session
  }

  /** Offers adapters to servers, and says which servers can use them. */
  #adaptersOf(wanted: readonly WeightedPack[] = []): {
    adapters?: SessionAdapters
    able(infos: readonly ServerInfo[]): readonly ServerInfo[]
    usable(infos: readonly ServerInfo[]): readonly ServerInfo[]
  } {
    if (wanted.length === 0) return { able: (infos) => infos, usable: (infos) => infos }
    const adapters = new SessionAdapters(wanted)
    for (const pack of adapters.packs) this.#packs.set(pack.name, pack)
    const { blockCount } = this.#options.model.config
    const able = (infos: readonly ServerInfo[]): readonly ServerInfo[] =>
      infos.filter((info) => info.adapters !== undefined)
    const usable = (infos: readonly ServerInfo[]): readonly ServerInfo[] => {
      const found = able(infos)
      const gaps = gapsOf(found, blockCount)
      if (gaps.length === 0 || !covered(infos, blockCount)) return found
      const names = gaps.map(({ start, end }) => `${start}:${end}`).join(', ')
      throw noRoute(`No route with adapters: who serves blocks ${names} cannot use any`, {
        hint: 'Serve them on a CPU, with petals join MODEL'
      })
    }
    return { adapters, able, usable }
  }

  /** What others serve may be better than what is computed here, and is not known at first. */
  #optimizing(): NonNullable<SessionOptions['optimizer']> {
    const { here, model } = this.#options
    if (!here) return {}
    const isAll = here.kept !== undefined && covered([here.kept], model.config.blockCount)
    return isAll ? false : { firstMs: 0 }
  }

  /**
   * If a value exceeds f16, sessions of this model travel as bf16 from then on, unless f16 was
   * asked for.
   */
  #widening(): { widerDtype?: WireDtype; onwiden?: () => void } {
    if (this.#options.dtype !== undefined || this.#dtype !== 'f16') return {}
    return { widerDtype: WIDE, onwiden: () => (this.#dtype = WIDE) }
  }

  /** Measured round trips to a route's servers, ms. */
  roundTrips(route: readonly RouteHop[]): Map<string, number> {
    const others = route.filter(({ isLocal }) => !isLocal)
    return new Map(others.map(({ peer }) => [peer, this.book.rttMs(peer) ?? 0]))
  }

  /** Servers known so far, and what is computed here. */
  get known(): readonly ServerInfo[] {
    return this.#finder.all.filter((info) => !info.draining)
  }

  /** Servers that may compute blocks now. @throws AppError NO_ROUTE, or why nobody can be asked */
  servers(signal?: AbortSignal): Promise<readonly ServerInfo[]> {
    return this.#finder.servers(signal)
  }

  /** All servers, not only as many as serve every block: asks the swarm when that was long ago. */
  look(signal?: AbortSignal): Promise<readonly ServerInfo[]> {
    return this.#finder.look(signal)
  }

  protected override async _open(): Promise<void> {
    const { compute, model, here, signal } = this.#options
    const beginning = this.#finder.begin(signal)
    // Heard below.
    beginning.catch(() => {})
    // Made while the engine loads blocks.
    void model.tokenizer
    const servers = await beginning.catch((error: unknown) => {
      // They may be found yet: the first step looks again.
      if (here && toAppError(error).code === 'NO_ROUTE') return this.#finder.all
      throw error
    })
    this.#dtype = this.#options.dtype ?? chooseDtype(model.config, servers)
    const exact = servers.some((info) => info.quant === 'f32')
    const headQuant = this.#options.headQuant ?? (exact ? 'f32' : 'native')
    this.#local = new LocalModel({ compute, model, headQuant })
    await this.#local.ready()
  }

  protected override async _close(): Promise<void> {
    this.#connections[Symbol.dispose]()
    this.#stopGiving()
    if (this.#local) await this.#local.close()
    else this.#options.model.close()
  }
}
