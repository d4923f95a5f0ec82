// The swarm as a plan sees it: which servers are alive and what they serve, routes with and without
// this machine, and a few real steps through the servers of those routes. Called by plan.ts. Prints
// nothing.
import type { BlockSpan } from '../../base/block-span.ts'
import { toHex } from '../../base/bytes.ts'
import { toAppError } from '../../base/errors.ts'
import { chooseDtype } from '../../client/client.ts'
import { swarmConnections, type SwarmConnections } from '../../client/connections.ts'
import {
  besideClient,
  claimedTimes,
  engineMs,
  forecast,
  withForwards,
  type ClientTimes,
  type Forecast,
  type HopTimes
} from '../../client/route/forecast.ts'
import { PeerBook } from '../../client/route/peers.ts'
import { planRoute, type Candidate, type RouteHop } from '../../client/route/route.ts'
import { tryChains, type ChainTimes } from '../../client/route/trial.ts'
import type { Model } from '../../model/types.ts'
import type { NamedModel } from '../../swarm/private/capability.ts'
import { status, type DirectoryEntry } from '../../swarm/directory.ts'
import type { SwarmNode } from '../../swarm/node.ts'
import type { ServerInfo } from '../../wire/types.ts'
import type { Context } from '../context.ts'
import type { ServingTimes } from './plan-measure.ts'

/** Cost of a step's frames beyond an empty round trip, if this machine could not measure it, ms. */
const FRAME_MS = 0.6

/** In a route: this machine, as if it were a server. */
export const HERE = 'here'

export interface SwarmOptions {
  context: Context
  model: Model
  named: NamedModel
  /** The caller closes it, after the view. */
  node: SwarmNode
  signal: AbortSignal
}

/** A live look at a model's swarm; the caller closes it. */
export class SwarmView implements Disposable {
  readonly servers: readonly ServerInfo[]
  /** Servers whose records are there but that do not answer yet. */
  readonly silent: readonly ServerInfo[]
  readonly #options: SwarmOptions
  readonly #connections: SwarmConnections
  readonly #book = new PeerBook()
  readonly #tried = new Map<string, ChainTimes>()

  private constructor(
    options: SwarmOptions,
    parts: { connections: SwarmConnections; entries: readonly DirectoryEntry[] }
  ) {
    this.#options = options
    this.#connections = parts.connections
    const alive = parts.entries.filter(({ state, info }) => state === 'alive' && !info.draining)
    this.silent = parts.entries.flatMap(({ state, info }) => (state === 'silent' ? info : []))
    for (const { info, rttMs } of alive) {
      if (rttMs !== undefined) this.#book.noteRtt(toHex(info.peer), rttMs)
    }
    this.servers = alive
      .map((entry) => entry.info)
      .sort((a, b) => a.start - b.start || a.end - b.end)
  }

  /** Joins the DHT and asks every server of the model whether it is alive. @throws AppError */
  static async open(options: SwarmOptions): Promise<SwarmView> {
    const { node, model, named, signal } = options
    await node.ready()
    const { blockCount } = model.config
    const entries = await status(node, model.contentId, blockCount, { signal })
    return new SwarmView(options, {
      connections: swarmConnections(node, { serves: named }),
      entries
    })
  }

  /** The best route without this machine; undefined if blocks are missing. */
  route(): readonly RouteHop[] | undefined {
    return this.#plan(this.#candidates())
  }

  /** The best route if this machine served `span` at its measured speed. */
  routeWith(span: BlockSpan, serving: ServingTimes): readonly RouteHop[] | undefined {
    const others = this.#candidates()
    const blocks = span.end - span.start
    const self: Candidate = {
      peer: HERE,
      ...span,
      blockMs: engineMs(serving.engine, blocks) / blocks,
      queueMs: serving.hop.queueMs,
      rttMs: serving.hop.rttMs,
      pings: pingsOf(others)
    }
    return this.#plan([...others, self])
  }

  /**
   * Forecast of a step through a route: servers are tried, this machine's part is known.
   * @param between see TrialOptions
   */
  async forecast(
    hops: readonly RouteHop[],
    client: ClientTimes,
    serving: ServingTimes | undefined,
    between: () => Promise<void>
  ): Promise<Forecast> {
    const runs = runsOf(hops)
    await this.#try(runs, between)
    const candidates = this.#candidates()
    const frameMs = serving ? Math.max(0, serving.hop.tripMs - serving.hop.rttMs) : FRAME_MS
    const times = runs.flatMap((run) => {
      const all = run.map((hop): HopTimes => {
        if (hop.peer === HERE && serving) return hereHop(hop, serving)
        const candidate = candidates.find(({ peer }) => peer === hop.peer)
        const tried = this.#tried.get(keyOf([hop]))
        if (tried) return { ...hop, ...tried, pings: candidate?.pings }
        if (!candidate) throw new TypeError(`No server ${hop.peer} in the route`)
        return claimedTimes(hop, candidate, frameMs)
      })
      const chain = all.length > 1 ? this.#tried.get(keyOf(run)) : undefined
      return chain ? withForwards(all, chain.tripMs) : all
    })
    return forecast(besideClient(times, HERE), client)
  }

  /** Whether a hop's times are only its server's claims. */
  isClaimed(hop: RouteHop): boolean {
    return hop.peer !== HERE && !this.#tried.has(keyOf([hop]))
  }

  [Symbol.dispose](): void {
    this.#connections[Symbol.dispose]()
  }

  /**
   * Runs steps through what was not tried before: every server alone, and those that push to each
   * other.
   */
  async #try(runs: readonly (readonly RouteHop[])[], between: () => Promise<void>): Promise<void> {
    const { model, signal, context } = this.#options
    const { hiddenSize } = model.config
    const servers = runs.filter(([first]) => first?.peer !== HERE)
    const chains = servers
      .flatMap((run) => (run.length > 1 ? [run, ...run.map((hop) => [hop])] : [run]))
      .filter((chain) => !this.#tried.has(keyOf(chain)))
    if (chains.length === 0) return
    const tried = await tryChains(chains, {
      connections: this.#connections,
      model: model.contentId,
      hiddenSize,
      dtype: chooseDtype(model.config, this.servers),
      between,
      signal
    })
    for (const [i, chain] of chains.entries()) {
      const one = tried[i]
      if (one?.kind === 'times') this.#tried.set(keyOf(chain), one.times)
      else if (one) {
        const who = chain.map(({ peer }) => peer.slice(0, 8)).join(' > ')
        context.log.warn(`${who} was not tried: ${toAppError(one.error).message}`)
      }
    }
  }

  #candidates(): Candidate[] {
    return this.servers.map((info) => this.#book.candidate(info))
  }

  #plan(candidates: readonly Candidate[]): readonly RouteHop[] | undefined {
    try {
      return planRoute(candidates, 0, this.#options.model.config.blockCount).hops
    } catch (error) {
      if (toAppError(error).code !== 'NO_ROUTE') throw error
      return undefined
    }
  }
}

/** Blocks that this machine would serve, as a hop for a client on it. */
export function hereHop(hop: RouteHop, serving: ServingTimes): HopTimes {
  const { queueMs, tripMs, rttMs } = serving.hop
  const computeMs = engineMs(serving.engine, hop.end - hop.start)
  return { ...hop, computeMs, queueMs, tripMs, rttMs }
}

/** Its round trips to others are this machine's. */
function pingsOf(others: readonly Candidate[]): ReadonlyMap<string, number> {
  return new Map(others.map(({ peer, rttMs }) => [peer, rttMs]))
}

/** Splits a route into parts that the swarm's servers do among themselves, and this machine's. */
function runsOf(hops: readonly RouteHop[]): RouteHop[][] {
  const runs: RouteHop[][] = []
  for (const hop of hops) {
    const open = runs.at(-1)
    const goesOn = open && hop.peer !== HERE && open[0]?.peer !== HERE
    if (goesOn) open.push(hop)
    else runs.push([hop])
  }
  return runs
}

function keyOf(chain: readonly RouteHop[]): string {
  return chain.map(({ peer, start, end }) => `${peer} ${start}:${end}`).join(' > ')
}
