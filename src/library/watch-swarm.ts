// A watch over a swarm whose snapshots say what to type on another machine to help it.
import { findAlias } from '../model/aliases.ts'
import type { SwarmNode } from '../swarm/node.ts'
import type { ModelSummary } from '../swarm/summary.ts'
import type { BareNeed } from '../swarm/watch/needs.ts'
import { SwarmWatch } from '../swarm/watch/swarm-watch.ts'

export interface WatchSwarmOptions {
  node: SwarmNode
  /** Words behind the command that lead into this swarm, e.g. '--bootstrap 127.0.0.1:49737'. */
  swarmWords?: string
}

/** The caller opens and closes it, before the node. */
export function watchSwarm({ node, swarmWords = '' }: WatchSwarmOptions): SwarmWatch {
  return new SwarmWatch({ node, command: (model, need) => joinCommand(model, need, swarmWords) })
}

/**
 * Servers may call a model anything: only an alias of ours is taken for what it says, and all else
 * is named by its content id, which peers prove.
 */
export function joinCommand(
  { name, model, blockCount }: ModelSummary,
  { start, end, why }: BareNeed,
  swarmWords: string
): string {
  const word = findAlias(name)?.name ?? model
  // Without blocks a server takes as many of the weakest as fit it, and moves when others need it
  // more; only what nobody serves must be served all together.
  const isAll = start === 0 && end === blockCount
  const blocks = why === 'missing' && !isAll ? ['--blocks', `${start}:${end}`] : []
  return ['petals', 'join', word, ...blocks, ...(swarmWords === '' ? [] : [swarmWords])].join(' ')
}
