// Finds the servers of a client's model: in the swarm, and what this process computes itself. Loads
// here what nobody serves. Called by client.ts. Knows no sessions.
import type { BlockSpan } from '../base/block-span.ts'
import { toHex } from '../base/bytes.ts'
import { deadline, type Clock } from '../base/clock.ts'
import { noRoute, toAppError, unavailable, type AppError } from '../base/errors.ts'
import type { Model } from '../model/types.ts'
import { covered, gapsOf } from '../swarm/coverage.ts'
import { find } from '../swarm/directory.ts'
import type { SwarmNode } from '../swarm/node.ts'
import type { ServerInfo } from '../wire/types.ts'
import type { LocalServers } from './route/local-servers.ts'
import type { PeerBook } from './route/peers.ts'

export interface ServerFinderOptions {
  node: SwarmNode
  model: Pick<Model, 'contentId' | 'config'>
  /** What this process computes itself. Default: nothing. */
  here?: LocalServers | undefined
  book: PeerBook
  /** How long a search may take, ms. Default 3000. */
  findMs?: number
  clock: Clock
}

/**
 * A record lives a minute and is put anew every 20 s: whoever joined or left is seen soon enough.
 */
const LOOK_MS = 20_000
/** A node that waits for somebody to answer may wait for long. */
const JOIN_MS = 12_000

export class ServerFinder {
  readonly #options: ServerFinderOptions
  readonly #known = new Map<string, ServerInfo>()
  #lookedAt = -Infinity

  constructor(options: ServerFinderOptions) {
    this.#options = options
  }

  /**
   * Loads what is computed here from the beginning. Where the swarm serves every block before that
   * is done, nobody waits for it.
   * @returns as servers()
   * @throws AppError as servers(), or as loading blocks that are kept here fails
   */
  async begin(signal?: AbortSignal): Promise<readonly ServerInfo[]> {
    const { here } = this.#options
    const loading = here?.ready()
    if (!here || here.kept) {
      await loading
      return this.servers(signal)
    }
    const searching = this.#search(signal)
    const served = searching.then(() => (this.#isCovered() ? undefined : loading))
    await Promise.race([loading, served])
    if (!this.#isCovered()) await this.#fill(await searching, signal)
    return this.#staying()
  }

  /**
   * Servers known now, and what is computed here. When those that did not fail leave a gap, the
   * swarm is asked, and then what nobody serves is loaded here.
   * @throws AppError NO_ROUTE or why the swarm cannot be asked, when blocks stay missing
   */
  async servers(signal?: AbortSignal): Promise<readonly ServerInfo[]> {
    if (!this.#isCovered()) {
      const failure = await this.#search(signal)
      if (!this.#isCovered()) await this.#fill(failure, signal)
    }
    return this.#staying()
  }

  /** Servers known now, those that drain too; asks the swarm when that was some time ago. */
  async look(signal?: AbortSignal): Promise<readonly ServerInfo[]> {
    if (this.#options.clock.now() - this.#lookedAt > LOOK_MS) await this.#find(signal)
    return this.all
  }

  /** What is computed here, as far as it can be used now. */
  #own(): readonly ServerInfo[] {
    const { here, book } = this.#options
    if (!here) return []
    const { infos, kept } = here
    book.noteOwn({ kept, peers: new Set(infos.map(({ peer }) => toHex(peer))) })
    return infos
  }

  /** All that is known, and what is computed here. */
  get all(): readonly ServerInfo[] {
    const known = [...this.#known.values()]
    // Between here and a server there is what is between this client and that server.
    const pings = known.flatMap(({ peer }) => {
      const ms = this.#options.book.rttMs(toHex(peer))
      return ms === undefined ? [] : { peer, ms }
    })
    return [...known, ...this.#own().map((info) => ({ ...info, pings }))]
  }

  #staying(): readonly ServerInfo[] {
    return this.all.filter((info) => !info.draining)
  }

  /** Blocks that no server has, of those that did not fail and those of here. */
  #gaps(known: Iterable<ServerInfo> = this.#known.values()): readonly BlockSpan[] {
    const { book, clock, model } = this.#options
    const [avoided, now] = [book.avoided(clock.now()), clock.wall()]
    const usable = [...known, ...this.#own()].filter((info) => {
      return !avoided.has(toHex(info.peer)) && !info.draining && info.expiresAt > now
    })
    const spans = usable.map((info) => book.spanOf(info))
    return gapsOf(spans, model.config.blockCount)
  }

  #isCovered(): boolean {
    return this.#gaps().length === 0
  }

  /** Asks the swarm until every block is served. @returns why it could not be asked */
  async #search(signal: AbortSignal | undefined): Promise<AppError | undefined> {
    const { book } = this.#options
    const asking = this.#find(signal, (infos) => {
      for (const info of infos) book.noteInfo(info)
      return this.#gaps(infos).length === 0
    })
    return asking.then(() => undefined, toAppError)
  }

  /** Loads here what nobody serves. @param failure why the swarm could not be asked */
  async #fill(failure: AppError | undefined, signal: AbortSignal | undefined): Promise<void> {
    const { here, book, model } = this.#options
    if (failure?.code === 'CANCELLED' || (failure && !here)) throw failure
    if (!here) return
    const gaps = this.#gaps()
    const why = await here.fillGaps(gaps, signal)
    const all = this.all.map((info) => book.spanOf(info))
    // Those that failed may be asked again.
    if (covered(all, model.config.blockCount)) return
    if (why) throw nobodyServes(gaps, why, failure)
    if (failure) throw failure
  }

  /** @throws AppError UNAVAILABLE, also while the node waits for somebody to answer */
  async #joined(signal: AbortSignal | undefined): Promise<void> {
    const options = { clock: this.#options.clock, ...(signal ? { signal } : {}) }
    await deadline(this.#options.node.ready(), JOIN_MS, options).catch((cause: unknown) => {
      if (toAppError(cause).code !== 'TIMEOUT') throw cause
      throw unavailable('The swarm cannot be joined: nobody has answered so far', {
        hint: 'Check the connection to the internet, or start from your own node with --bootstrap',
        cause
      })
    })
  }

  async #find(
    signal: AbortSignal | undefined,
    enough?: (infos: readonly ServerInfo[]) => boolean
  ): Promise<void> {
    const { node, model, findMs = 3000 } = this.#options
    // A look that may end early does not count as one.
    if (!enough) this.#lookedAt = this.#options.clock.now()
    await this.#joined(signal)
    const found = await find(node, model.contentId, model.config.blockCount, {
      timeoutMs: findMs,
      // Of a search that may end early: a route through those used before is there first.
      ...(enough ? { enough, known: this.#options.book.recalled } : {}),
      ...(signal ? { signal } : {})
    })
    for (const info of found) {
      // What this process serves itself is reached without the network.
      if (toHex(info.peer) === node.peer) continue
      this.#known.set(toHex(info.peer), info)
      this.#options.book.noteInfo(info)
    }
    const now = this.#options.clock.wall()
    for (const [peer, info] of this.#known) if (info.expiresAt <= now) this.#known.delete(peer)
  }
}

/** @param asking why the swarm could not be asked */
function nobodyServes(
  gaps: readonly BlockSpan[],
  why: AppError,
  asking: AppError | undefined
): AppError {
  const names = gaps.map(({ start, end }) => `${start}:${end}`).join(', ')
  const reasons = [why, ...(asking ? [asking] : [])].map(({ message }) => message).join('; ')
  const { hint } = why
  const make = asking ? unavailable : noRoute
  return make(`No route through the model: nobody serves blocks ${names} (${reasons})`, {
    ...(hint === undefined ? {} : { hint }),
    cause: why
  })
}
