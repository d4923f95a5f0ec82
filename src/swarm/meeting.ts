// How a private swarm, or one on a local network, is found again and again: starts from the nodes given,
// from those known of old that still answer, and from those that answer on the local network; lets a
// server keep a DHT node of its own, so that no single machine is needed; and drops nodes that are gone.
// Called by cli for join, chat and status; node.ts does the rest. Knows no invites.
import { systemClock, type Clock } from '../base/clock.ts'
import { toAppError, unavailable } from '../base/errors.ts'
import { silentLog, type Log } from '../base/log.ts'
import { freshSeed, seededRandom, type Random } from '../base/random.ts'
import { Resource } from '../base/resource.ts'
import { startBootstrap, type Bootstrap } from './bootstrap.ts'
import { answering, mergeKnown, pingAll, type KnownNode } from './known-nodes.ts'
import { LanBeacon, type Address } from './lan.ts'
import type { SwarmNode } from './node.ts'

export interface MeetingOptions {
  /** Nodes given by the user. Empty: the public ones, unless `lan`. */
  bootstrap: readonly Address[]
  /** Nodes heard from in earlier runs. */
  known: readonly KnownNode[]
  /** Keeps them for later runs. */
  keep: (nodes: readonly KnownNode[]) => Promise<void>
  /** Whether this process stays, and so keeps a node for others where it can be reached. */
  serving: boolean
  /** Key of the beacon; undefined: the local network is not asked. */
  lanKey?: Uint8Array | undefined
  lanPort?: number
  /** Address of the node for others. Default: loopback where all are, else this machine's. */
  host?: string | undefined
  clock?: Clock
  random?: Random
  log?: Log
}

const ASK_MS = 1_000
/** How often the local network is asked: soon at first, because two may have started at once. */
const ASK_AGAIN_MS = [1_000, 3_000, 15_000]
const TEND_MS = 10_000

export class Meeting extends Resource {
  readonly #options: MeetingOptions
  readonly #clock: Clock
  readonly #random: Random
  readonly #log: Log
  #beacon: LanBeacon | undefined
  #own: Bootstrap | undefined
  #known: readonly KnownNode[]
  #start: readonly Address[] = []
  #nodes: readonly Address[] = []
  #kept = ''
  #stopTimers: (() => void)[] = []
  #asked = 0

  constructor(options: MeetingOptions) {
    super()
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? seededRandom(freshSeed())
    this.#log = options.log ?? silentLog
    this.#known = options.known
  }

  /** Nodes to start from, after ready(). Empty: the public ones. */
  get bootstrap(): readonly Address[] {
    return this.#start
  }

  /** Of the public DHT, known of old and answering, after ready(). */
  get nodes(): readonly Address[] {
    return this.#nodes
  }

  /** For SwarmNode: no NAT stands between the peers; undefined: as their addresses say. */
  get open(): true | undefined {
    return this.#options.lanKey === undefined ? undefined : true
  }

  /** Keeps a node's ways into the DHT in order; ends with close(). */
  follow(node: SwarmNode): void {
    this.#remember(node).catch((error: unknown) => this.#log.debug(toAppError(error).message))
    this.#later(TEND_MS, () => this.#tend(node))
    if (this.#beacon && this.#own) this.#later(ASK_AGAIN_MS[0] ?? 0, () => this.#meet(node))
  }

  protected override async _open(): Promise<void> {
    const { bootstrap, lanKey, serving } = this.#options
    const [heard, alive] = await Promise.all([
      this.#askLan(),
      answering(distinct([...bootstrap, ...this.#known]), this.#clock)
    ])
    if (bootstrap.length === 0 && lanKey === undefined) {
      this.#nodes = alive
      return
    }
    const start = distinct([...heard, ...alive])
    // None answers: the node then says so, naming them.
    this.#start = start.length > 0 || lanKey !== undefined ? start : bootstrap
    if (serving && this.#keepsNode(start)) await this.#startOwn(start)
    if (lanKey !== undefined && this.#start.length === 0) {
      throw unavailable('Nobody of the swarm answers on this network', {
        hint: 'Start a server in it: petals join MODEL --lan'
      })
    }
  }

  protected override async _close(): Promise<void> {
    for (const stop of this.#stopTimers) stop()
    await this.#beacon?.close()
    await this.#own?.close()
  }

  async #askLan(): Promise<readonly Address[]> {
    const { lanKey, lanPort } = this.#options
    if (lanKey === undefined) return []
    this.#beacon = new LanBeacon({
      key: lanKey,
      clock: this.#clock,
      log: this.#log,
      ...(lanPort === undefined ? {} : { port: lanPort })
    })
    await this.#beacon.ready()
    return this.#beacon.ask(ASK_MS)
  }

  /** Where others reach this machine as the user says that they do: here, or on the local network. */
  #keepsNode(start: readonly Address[]): boolean {
    const { lanKey } = this.#options
    return lanKey !== undefined || (start.length > 0 && start.every(({ host }) => isLocal(host)))
  }

  async #startOwn(start: readonly Address[]): Promise<void> {
    const { lanKey } = this.#options
    const loopback = start.length > 0 && start.every(({ host }) => host.startsWith('127.'))
    const host = this.#options.host ?? (loopback && lanKey === undefined ? '127.0.0.1' : '0.0.0.0')
    this.#own = await startBootstrap({ host, port: 0, nodes: 1, start, log: this.#log }).catch(
      async (error: unknown) => {
        if (toAppError(error).code !== 'UNAVAILABLE') throw error
        // A machine without a network has itself.
        return startBootstrap({ host: '127.0.0.1', port: 0, nodes: 1, start, log: this.#log })
      }
    )
    const own = { host: this.#own.host, port: this.#own.port }
    this.#start = distinct([own, ...this.#start])
    await this.#beacon?.offer(own)
  }

  /** Looks for nodes on the network that this one has not met: two may have begun apart. */
  async #meet(node: SwarmNode): Promise<void> {
    const wait = ASK_AGAIN_MS[Math.min(++this.#asked, ASK_AGAIN_MS.length - 1)] ?? ASK_MS
    try {
      const met = new Set(node.dht.toArray().map(nameOf))
      if (this.#own) met.add(nameOf(this.#own))
      const found = (await this.#beacon?.ask(ASK_MS)) ?? []
      const fresh = found.filter((address) => !met.has(nameOf(address)))
      if (fresh.length === 0 || this.closing) return
      await Promise.all([this.#own?.meet(fresh), pingAll(node.dht, fresh, this.#clock)])
      node.announceAgain()
    } finally {
      this.#later(wait, () => this.#meet(node))
    }
  }

  async #remember(node: SwarmNode): Promise<void> {
    const own = this.#own && nameOf(this.#own)
    const heard = node.dht.toArray().filter((one) => nameOf(one) !== own)
    this.#known = mergeKnown(this.#known, heard, Math.floor(this.#clock.wall()))
    const names = this.#known.map(nameOf).sort().join()
    if (names === this.#kept) return
    this.#kept = names
    await this.#options.keep(this.#known)
  }

  /** Keeps what the DHT knows, and starts searches from nodes that answer. */
  async #tend(node: SwarmNode): Promise<void> {
    const { bootstrap } = this.#options
    try {
      await this.#remember(node)
      if (this.#start.length === 0) return
      const own = this.#own ? [this.#own] : []
      const candidates = distinct([...own, ...bootstrap, ...this.#start, ...this.#known])
      const alive = await pingAll(node.dht, candidates, this.#clock)
      if (alive.length > 0 && !this.closing) node.dht.bootstrapNodes = alive.map(plain)
    } finally {
      this.#later(TEND_MS, () => this.#tend(node))
    }
  }

  #later(ms: number, run: () => Promise<void>): void {
    if (this.closing) return
    const jittered = ms * (0.8 + 0.4 * this.#random.next())
    const stop = this.#clock.after(
      jittered,
      () => {
        this.#stopTimers = this.#stopTimers.filter((one) => one !== stop)
        run().catch((error: unknown) => this.#log.debug(toAppError(error).message))
      },
      true
    )
    this.#stopTimers.push(stop)
  }
}

function nameOf({ host, port }: Address): string {
  return `${host}:${port}`
}

function plain({ host, port }: Address): Address {
  return { host, port }
}

function distinct(addresses: readonly Address[]): readonly Address[] {
  return [...new Map(addresses.map((one) => [nameOf(one), plain(one)])).values()]
}

/** Addresses of this machine or of a network that is not routed. */
function isLocal(host: string): boolean {
  return /^(127\.|10\.|192\.168\.|169\.254\.|172\.(1[6-9]|2\d|3[01])\.)/.test(host)
}
