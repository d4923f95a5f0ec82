// A node without a name, for commands that ask and serve nothing: met where the flags say, of the
// swarm that they name.
import type { Log } from '../base/log.ts'
import { createIdentity } from '../swarm/identity.ts'
import type { Membership } from '../swarm/membership.ts'
import { SwarmNode } from '../swarm/node.ts'
import type { LinkHandlers } from '../wire/handlers.ts'
import type { Context } from './context.ts'
import { openMeeting, type SwarmFlags } from './swarm-access.ts'

export interface NodeOptions {
  flags: SwarmFlags
  context: Context
  membership: Membership | undefined
  log: Log
  /** Default: what arrives is not looked at. */
  handlers?: LinkHandlers
}

export interface OpenedNode {
  readonly node: SwarmNode
  /** Joins, and keeps up with where the swarm meets. @throws AppError UNAVAILABLE */
  ready(): Promise<void>
}

/** Makes the node; `stack` closes it, and where it meets others after it. @throws AppError */
export async function openNode(
  stack: AsyncDisposableStack,
  options: NodeOptions
): Promise<OpenedNode> {
  const { flags, context, membership, log, handlers = {} } = options
  const meeting = await openMeeting(flags, membership, false, context)
  if (meeting) stack.use(meeting)
  const node = stack.use(
    new SwarmNode({
      bootstrap: meeting?.bootstrap ?? context.bootstrap,
      nodes: meeting?.nodes,
      open: meeting?.open,
      identity: createIdentity(),
      handlers,
      membership,
      log
    })
  )
  return {
    node,
    async ready() {
      await node.ready()
      meeting?.follow(node)
    }
  }
}
