// Where a node begins and how it stays in the DHT: starts from the nodes given, from those of
// earlier runs that still answer, and from those that answer on the local network; a server waits
// for one of them. Lets a server keep a DHT node of its own, so that no single machine is needed,
// drops nodes that are gone, and notices when one that was given is back and has forgotten
// everything. Called by node.ts, which joins. Knows no peers, no invites and no models.
import type DHT from 'hyperdht'
import { sleep, systemClock, type Clock } from '../../base/clock.ts'
import { toAppError, unavailable, type AppError } from '../../base/errors.ts'
import { silentLog, type Log } from '../../base/log.ts'
import { freshSeed, seededRandom, type Random } from '../../base/random.ts'
import { Resource } from '../../base/resource.ts'
import { distinct, isLocal, nameOf, type Address } from './address.ts'
import { startBootstrap, type Bootstrap } from './bootstrap.ts'
import { answering, hasRecord, mergeKnown, pingAll, type KnownNode } from './known-nodes.ts'
import { LanBeacon } from './lan.ts'

export interface RendezvousOptions {
  /** Nodes given by the user. Empty: the public ones, unless `lan`. */
  bootstrap: readonly Address[]
  /** Nodes heard from in earlier runs. Default: none. */
  known?: readonly KnownNode[]
  /** Keeps them for later runs. Default: nowhere. */
  keep?: ((nodes: readonly KnownNode[]) => Promise<void>) | undefined
  /** Whether this process stays: it then keeps a node for others where it can be reached. */
  serving: boolean
  /** ready() waits until somebody answers. Default: when it serves. */
  waits?: boolean | undefined
  /** Key of the beacon; undefined: the local network is not asked. */
  lanKey?: Uint8Array | undefined
  lanPort?: number
  /** Address of the node for others. Default: loopback where all are, else this machine's. */
  host?: string | undefined
  clock?: Clock
  random?: Random
  log?: Log
}

/** What node.ts makes its DHT node with. */
export interface Start {
  /** Empty: the public ones. */
  readonly bootstrap: readonly Address[]
  /** More of the public DHT, known of old and answering. */
  readonly nodes: readonly Address[]
  /** No NAT stands between the peers; undefined: as their addresses say. */
  readonly open: true | undefined
}

/** What is kept in the DHT; node.ts is it. */
export interface Followed {
  readonly dht: DHT
  /** Public key, under which its record is. */
  readonly key: Uint8Array
  announceAgain(): void
}

const ASK_MS = 1_000
/** How often the local network is asked: soon at first, because two may have started at once. */
const ASK_AGAIN_MS = [1_000, 3_000, 15_000]
const TEND_MS = 10_000
/** How often a server looks whether a given node still has its record: one small datagram. */
const WATCH_MS = 2_000
/** Between two tries to find somebody, while a server waits. */
const WAIT_MS = 2_000

export class Rendezvous extends Resource {
  readonly #options: RendezvousOptions
  readonly #clock: Clock
  readonly #random: Random
  readonly #log: Log
  readonly #stop = new AbortController()
  #beacon: LanBeacon | undefined
  #own: Bootstrap | undefined
  #known: readonly KnownNode[]
  #start: readonly Address[] = []
  #nodes: readonly Address[] = []
  #kept = ''
  #stopTimers: (() => void)[] = []
  #asked = 0
  /** Given nodes that have this server's record, by name. */
  readonly #keepers = new Set<string>()

  constructor(options: RendezvousOptions) {
    super()
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? seededRandom(freshSeed())
    this.#log = options.log ?? silentLog
    this.#known = options.known ?? []
  }

  /** After ready(). */
  get start(): Start {
    const open = this.#options.lanKey === undefined ? undefined : true
    return { bootstrap: this.#start, nodes: this.#nodes, open }
  }

  /** Keeps a node's ways into the DHT in order, until close(). */
  follow(node: Followed): void {
    this.#remember(node).catch((error: unknown) => this.#log.debug(toAppError(error).message))
    this.#later(TEND_MS, () => this.#tend(node))
    const { serving, bootstrap } = this.#options
    if (serving && bootstrap.length > 0) this.#later(WATCH_MS, () => this.#watch(node))
    if (this.#beacon && this.#own) this.#later(ASK_AGAIN_MS[0] ?? 0, () => this.#meet(node))
  }

  /** Ends an opening that waits, too. */
  override close(): Promise<void> {
    this.#stop.abort()
    return super.close()
  }

  protected override async _open(): Promise<void> {
    const { bootstrap, lanKey, serving } = this.#options
    if (lanKey !== undefined) await this.#openBeacon()
    if (bootstrap.length === 0 && lanKey === undefined) {
      this.#nodes = await this.#findStart()
      return
    }
    this.#start = await this.#untilFound()
    if (serving && this.#keepsNode(this.#start)) await this.#startOwn(this.#start)
  }

  protected override async _close(): Promise<void> {
    for (const stop of this.#stopTimers) stop()
    await this.#beacon?.close()
    await this.#own?.close()
  }

  /** Where to start from; waits for somebody, or begins alone on a local network. */
  async #untilFound(): Promise<readonly Address[]> {
    const { lanKey, serving, waits = serving } = this.#options
    for (let tries = 1; ; tries++) {
      const start = await this.#findStart()
      if (start.length > 0 || (serving && lanKey !== undefined)) return start
      const nobody = this.#nobody()
      if (!waits) throw nobody
      if (tries === 1) this.#log[serving ? 'warn' : 'debug'](`${nobody.message}: waiting for one`)
      await sleep(WAIT_MS, { clock: this.#clock, signal: this.#stop.signal })
    }
  }

  /** Who answers of those that are given, known of old, or on the local network. */
  async #findStart(): Promise<readonly Address[]> {
    const { bootstrap, host } = this.#options
    const [heard = [], alive] = await Promise.all([
      this.#beacon?.ask(ASK_MS),
      answering(distinct([...bootstrap, ...this.#known]), {
        clock: this.#clock,
        host,
        signal: this.#stop.signal
      })
    ])
    return distinct([...heard, ...alive])
  }

  #nobody(): AppError {
    const { bootstrap, lanKey } = this.#options
    if (lanKey !== undefined) {
      return unavailable('Nobody of the swarm answers on this network', {
        hint: 'Start a server in it: petals join MODEL --lan'
      })
    }
    const where = bootstrap.map(nameOf).join(', ')
    return unavailable(`The swarm cannot be joined: nobody answers at ${where}`, {
      hint: 'Start a node there with petals bootstrap, or correct --bootstrap'
    })
  }

  async #openBeacon(): Promise<void> {
    const { lanKey, lanPort } = this.#options
    if (lanKey === undefined) return
    this.#beacon = new LanBeacon({
      key: lanKey,
      clock: this.#clock,
      log: this.#log,
      ...(lanPort === undefined ? {} : { port: lanPort })
    })
    await this.#beacon.ready()
  }

  /**
   * Where others reach this machine as the user says that they do: here, or on the local network.
   */
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
  async #meet(node: Followed): Promise<void> {
    const wait = ASK_AGAIN_MS[Math.min(++this.#asked, ASK_AGAIN_MS.length - 1)] ?? ASK_MS
    try {
      const met = new Set(node.dht.toArray().map(nameOf))
      if (this.#own) met.add(nameOf(this.#own))
      const found = (await this.#beacon?.ask(ASK_MS)) ?? []
      const fresh = found.filter((address) => !met.has(nameOf(address)))
      if (fresh.length === 0 || this.closing) return
      await Promise.all([this.#own?.meet(fresh), pingAll(node.dht, fresh, { clock: this.#clock })])
      node.announceAgain()
    } finally {
      this.#later(wait, () => this.#meet(node))
    }
  }

  /**
   * A given node that had this server's record and has it no more was started again: it knows
   * nobody.
   */
  async #watch(node: Followed): Promise<void> {
    try {
      const states = await Promise.all(
        this.#options.bootstrap.map(async (address) => ({
          name: nameOf(address),
          address,
          state: await hasRecord(node.dht, address, node.key)
        }))
      )
      for (const { name, state } of states) {
        if (state !== 'has' || this.#keepers.has(name)) continue
        this.#keepers.add(name)
        this.#log.debug(`${name} has this server's record`)
      }
      const lost = states.filter(
        ({ name, state }) => state === 'lacks' && this.#keepers.delete(name)
      )
      if (lost.length === 0 || this.closing) return
      this.#log.info(`${lost.map(({ name }) => name).join(', ')} is back: announcing again`)
      await this.#own?.meet(lost.map(({ address }) => address))
      node.announceAgain()
    } finally {
      this.#later(WATCH_MS, () => this.#watch(node))
    }
  }

  async #remember(node: Followed): Promise<void> {
    const own = this.#own && nameOf(this.#own)
    const heard = node.dht.toArray().filter((one) => nameOf(one) !== own)
    this.#known = mergeKnown(this.#known, heard, Math.floor(this.#clock.wall()))
    const names = this.#known.map(nameOf).sort().join()
    if (names === this.#kept) return
    this.#kept = names
    await this.#options.keep?.(this.#known)
  }

  /** Keeps what the DHT knows, and starts searches from nodes that answer. */
  async #tend(node: Followed): Promise<void> {
    const { bootstrap } = this.#options
    try {
      await this.#remember(node)
      if (this.#start.length === 0) return
      const own = this.#own ? [this.#own] : []
      const candidates = distinct([...own, ...bootstrap, ...this.#start, ...this.#known])
      const alive = await pingAll(node.dht, candidates, { clock: this.#clock })
      if (alive.length > 0 && !this.closing) node.dht.bootstrapNodes = distinct(alive)
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
