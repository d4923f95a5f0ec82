// A node without a name, for commands that ask and serve nothing: met where the flags say, of the
// swarm that they name.
import type { Log } from '../base/log.ts'
import { createIdentity, type Identity } from '../swarm/identity.ts'
import type { Meeting } from '../swarm/meeting.ts'
import type { Membership } from '../swarm/private/membership.ts'
import { SwarmNode } from '../swarm/node.ts'
import type { LinkHandlers } from '../wire/link.ts'
import type { Context } from './context.ts'
import { openMeeting, type SwarmFlags } from './swarm/swarm-access.ts'

export interface NodeOptions {
  flags: SwarmFlags
  context: Context
  membership: Membership | undefined
  log: Log
  /** Default: a new one, under which nobody knows it again. */
  identity?: Identity | undefined
  /** Default: what arrives is not looked at. */
  handlers?: LinkHandlers
  /** Where the swarm is met, when that is open already; its owner closes it. */
  meeting?: Meeting | undefined
}

export interface OpenedNode {
  readonly node: SwarmNode
  /** Joins, once, and keeps up with where the swarm meets. @throws AppError UNAVAILABLE */
  ready(): Promise<void>
}

/** Makes the node; `stack` closes it, and where it meets others after it. @throws AppError */
export async function openNode(
  stack: AsyncDisposableStack,
  options: NodeOptions
): Promise<OpenedNode> {
  const { flags, context, membership, log, handlers = {} } = options
  const own = options.meeting ? undefined : await openMeeting(flags, membership, false, context)
  if (own) stack.use(own)
  const meeting = options.meeting ?? own
  const node = stack.use(
    new SwarmNode({
      bootstrap: meeting?.bootstrap ?? context.bootstrap,
      nodes: meeting?.nodes,
      open: meeting?.open,
      identity: options.identity ?? createIdentity(),
      handlers,
      membership,
      log
    })
  )
  let joining: Promise<void> | undefined
  const join = async (): Promise<void> => {
    await node.ready()
    own?.follow(node)
  }
  return { node, ready: () => (joining ??= join()) }
}
