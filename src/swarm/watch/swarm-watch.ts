// Watches a swarm, or a private one, over a node: which models are served, by whom, how well, who
// comes and goes. Gives snapshots for a page or a program. Called by whoever shows it. Serves
// nothing and asks for nothing but the servers' own words and a ping.
import { toHex } from '../../base/bytes.ts'
import { deadline } from '../../base/clock.ts'
import { toAppError } from '../../base/errors.ts'
import { seededRandom, freshSeed, type Random } from '../../base/random.ts'
import { Resource } from '../../base/resource.ts'
import type { ServerInfo } from '../../wire/types.ts'
import { findAllServers, probe, reachLimit, type DirectoryEntry } from '../directory.ts'
import type { SwarmNode } from '../node.ts'
import { judgeInfo } from '../record.ts'
import { limiter } from '../search.ts'
import { blockStates, summarise, type ModelSummary } from '../summary.ts'
import { SwarmHistory } from './history.ts'
import { KnownServers, snapshotOf, type KnownServer } from './known-servers.ts'
import { needsOf, type BareNeed } from './needs.ts'
import type { ModelSnapshot, SwarmSnapshot } from './snapshot.ts'

export interface SwarmWatchOptions {
  /** Its owner opens and closes it. */
  node: SwarmNode
  /** What to type to meet a need. */
  command: (model: ModelSummary, need: BareNeed) => string
  /** Mean time between two looks, ms. Default 15,000. */
  everyMs?: number
  /** Servers asked in one look, the longest unasked first. Default 64. */
  mostAsked?: number
  random?: Random
}

const EVERY_MS = 15_000
/** The first looks come soon: servers are often started together with the watch. */
const SOON_MS: readonly number[] = [3_000, 6_000]
const MOST_ASKED = 64
const ASKED_AT_ONCE = 16
const JOIN_MS = 15_000
const HOUR_MS = 3_600_000
/** Models of a snapshot: those with most servers. */
const MOST_MODELS = 64

export class SwarmWatch extends Resource {
  readonly #options: SwarmWatchOptions
  readonly #node: SwarmNode
  readonly #random: Random
  readonly #history = new SwarmHistory()
  readonly #known: KnownServers
  readonly #stop = new AbortController()
  #stopTimer: () => void = () => {}
  #stopHandling: () => void = () => {}
  #looking: Promise<void> = Promise.resolve()
  #since = 0
  #looks = 0
  #looked = false
  #reachable = false

  constructor(options: SwarmWatchOptions) {
    super()
    this.#options = options
    this.#node = options.node
    this.#random = options.random ?? seededRandom(freshSeed())
    this.#known = new KnownServers((event) => this.#history.event(event))
  }

  /** The swarm as it is known now. */
  snapshot(): SwarmSnapshot {
    const now = this.#node.clock.wall()
    const servers = this.#known.all
    return {
      at: now,
      since: this.#since,
      looked: this.#looked,
      reachable: this.#reachable,
      models: this.#summaries().map((summary) => this.#modelOf(summary, servers)),
      events: this.#history.eventsSince(now - HOUR_MS)
    }
  }

  /** Looks now; resolves when everybody was asked. Looks never overlap. */
  look(): Promise<void> {
    this.#looking = this.#looking.then(() => this.#look())
    return this.#looking
  }

  protected override async _open(): Promise<void> {
    this.#since = this.#node.clock.wall()
    this.#stopHandling = this.#node.handle({
      onannounce: ({ key }, { servers }) => this.#announced(key, servers)
    })
    this.#later(0)
  }

  protected override async _close(): Promise<void> {
    this.#stop.abort()
    this.#stopTimer()
    this.#stopHandling()
    await this.#looking
  }

  #later(ms: number): void {
    if (this.closing) return
    this.#stopTimer = this.#node.clock.after(
      ms,
      () => {
        const { everyMs = EVERY_MS } = this.#options
        const nextMs = Math.min(everyMs, SOON_MS[this.#looks++] ?? everyMs)
        // Never rejects.
        void this.look().then(() => this.#later(nextMs * (0.8 + 0.4 * this.#random.next())))
      },
      true
    )
  }

  async #look(): Promise<void> {
    const { signal } = this.#stop
    if (signal.aborted) return
    const { clock, log } = this.#node
    this.#lookAtOwn()
    try {
      // It may wait for as long as nobody of the swarm answers.
      await deadline(this.#node.ready(), JOIN_MS, { clock, signal, what: 'Joining the swarm' })
      for await (const info of findAllServers(this.#node, { signal })) {
        if (!this.#isOwn(info)) this.#known.heard(info, clock.wall())
      }
      await this.#ask(signal)
      this.#reachable = true
    } catch (error) {
      if (signal.aborted) return
      this.#reachable = false
      log.debug(`the swarm could not be looked at: ${toAppError(error).message}`)
    }
    const now = clock.wall()
    this.#looked = true
    this.#known.expire(now)
    this.#history.forget(now)
    for (const model of this.#summaries()) {
      const { servers, tokensPerSecond, gaps } = model
      const missingBlocks = gaps.reduce((sum, { start, end }) => sum + end - start, 0)
      this.#history.sample(keyOf(model), { at: now, servers, tokensPerSecond, missingBlocks })
    }
  }

  /** What this node serves itself: no search finds it, and there is no link to oneself. */
  #lookAtOwn(): void {
    const { served, key, clock } = this.#node
    const now = clock.wall()
    if (served.length === 0) this.#known.left(key, now)
    for (const info of served) this.#known.heard(info, now, { rttMs: 0 })
  }

  #isOwn({ peer }: ServerInfo): boolean {
    return Buffer.compare(peer, this.#node.key) === 0
  }

  /** Asks those that were not asked for longest. */
  async #ask(signal: AbortSignal): Promise<void> {
    const { mostAsked = MOST_ASKED } = this.#options
    const servers = this.#known.all
      .filter(({ info }) => !this.#isOwn(info))
      .toSorted((a, b) => a.askedAt - b.askedAt)
      .slice(0, mostAsked)
    if (servers.length === 0) return
    const timeoutMs = await reachLimit(this.#node)
    const gate = limiter(ASKED_AT_ONCE)
    const asked = servers.map(({ info }) =>
      gate(async () => this.#answered(await probe(this.#node, info, { signal, timeoutMs })))
    )
    await Promise.all(asked)
  }

  #answered({ info, state, rttMs, trainedTokens }: DirectoryEntry): void {
    const now = this.#node.clock.wall()
    if (state === 'alive') this.#known.heard(info, now, { rttMs, trainedTokens })
    else if (state === 'silent') this.#known.silent(info.peer, now)
    else this.#known.left(info.peer, now)
  }

  /** What a server says over an open link, between two looks. */
  #announced(peer: Uint8Array, servers: readonly ServerInfo[]): void {
    const now = this.#node.clock.wall()
    const known = this.#known.get(toHex(peer))
    if (!known) return
    if (servers.length === 0) return this.#known.left(peer, now)
    for (const info of servers) {
      const verdict = judgeInfo(info, { peer, now })
      if (verdict.kind === 'usable') this.#known.heard(verdict.info, now)
    }
  }

  #summaries(): readonly ModelSummary[] {
    return summarise(this.#known.all.map(({ info }) => info)).slice(0, MOST_MODELS)
  }

  #modelOf(summary: ModelSummary, servers: readonly KnownServer[]): ModelSnapshot {
    const { model, blockCount } = summary
    const own = servers
      .filter(({ info }) => toHex(info.model) === model && info.blockCount === blockCount)
      .sort((a, b) => a.info.start - b.info.start || a.info.end - b.info.end)
    const serving = own.flatMap(({ info }) => (info.next?.left ? [] : info))
    const blocks = blockStates(serving, blockCount)
    const { command } = this.#options
    return {
      ...summary,
      blocks,
      hosts: own.map(snapshotOf),
      needs: needsOf(blocks).map((need) => ({ ...need, command: command(summary, need) })),
      history: this.#history.samplesOf(keyOf(summary))
    }
  }
}

function keyOf({ model, blockCount }: ModelSummary): string {
  return `${model} ${blockCount}`
}
