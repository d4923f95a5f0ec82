// Connects a host's monitor, and its rebalancer if it may move, to the swarm: how other servers are
// found, asked and pinged, and what is announced. Called by host.ts, which does the moving.
import type { BlockSpan } from '../../base/block-span.ts'
import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { freshSeed, seededRandom, type Random } from '../../base/random.ts'
import type { NamedModel } from '../../swarm/private/capability.ts'
import { find, probe, reachLimit } from '../../swarm/directory.ts'
import type { SwarmNode } from '../../swarm/node.ts'
import type { ServerInfo } from '../../wire/types.ts'
import { SwarmMonitor } from './swarm-monitor.ts'
import { Rebalancer, type PlacementOptions } from './rebalancer.ts'
import type { Advertisement } from '../advertisement.ts'
import { checkPeriodMs, placedOf } from './rebalance.ts'

/** What watchOthers needs of a host that has joined the swarm. */
export interface WatchOptions {
  node: SwarmNode
  /** The model, by the names that an invite may use. */
  named: NamedModel
  advertisement: Advertisement
  /** Content id of the model. */
  contentId: Uint8Array
  /** The actions of a move; undefined for a host that stays where it is. */
  moving?: Moving | undefined
  /** Mean time between two looks, ms. Default 60,000. */
  everyMs?: number | undefined
  random?: Random | undefined
  clock: Clock
  log: Log
}

export interface Moving {
  sessions: () => number
  fits: (range: BlockSpan) => boolean
  fetch: (range: BlockSpan, signal: AbortSignal) => Promise<void>
  /** Refuses new sessions, or accepts them again. */
  drain: (draining: boolean) => void
  change: (range: BlockSpan) => Promise<void>
  /** Called with each check, which may turn into a move. */
  onmoving: (moving: Promise<unknown>) => void
  placement?: PlacementOptions | undefined
}

/** As long as a record is valid. */
const EVERY_MS = 60_000
/** Time for the pong of a server that a link was made to, ms. */
const PONG_MS = 2_500

export function watchOthers(options: WatchOptions): SwarmMonitor {
  const { node, named, advertisement, contentId, moving, everyMs = EVERY_MS, clock, log } = options
  const { blockCount } = advertisement.info
  const ask = async (
    servers: readonly ServerInfo[],
    signal: AbortSignal
  ): Promise<readonly ServerInfo[]> => {
    if (servers.length === 0) return []
    const timeoutMs = await reachLimit(node)
    const asked = await Promise.all(servers.map((info) => probe(node, info, { signal, timeoutMs })))
    return asked.flatMap(({ info, state }) => (state === 'alive' ? info : []))
  }
  const rebalancer = moving && makeRebalancer(moving)
  const monitor = new SwarmMonitor({
    find: (signal) => find(node, contentId, blockCount, { signal }),
    ask,
    ping: async (peer, signal) => {
      const timeoutMs = await reachLimit(node)
      const link = await node.connect(peer, { signal, timeoutMs, serves: named })
      return link.ping(PONG_MS)
    },
    end: () => advertisement.info.end,
    onpings: (pings) => advertisement.pings(pings),
    ...(rebalancer
      ? {
          onlook: (servers, signal) => {
            const checking = rebalancer.check(servers, signal)
            moving.onmoving(checking)
            return checking
          }
        }
      : {}),
    periodMs: (servers) =>
      rebalancer
        ? checkPeriodMs([...servers, advertisement.info].map(placedOf), blockCount, everyMs)
        : everyMs,
    clock,
    random: options.random ?? seededRandom(freshSeed()),
    log
  })
  return monitor

  function makeRebalancer({ drain, placement, sessions, fits, fetch, change }: Moving): Rebalancer {
    return new Rebalancer({
      info: () => advertisement.info,
      sessions,
      find: (signal) => monitor.view(signal),
      ask,
      fits,
      fetch,
      say: (next) => {
        drain(next !== undefined)
        advertisement.going(next)
      },
      change,
      ...(placement ? { placement } : {}),
      clock,
      log
    })
  }
}
