// The swarm node of this process: what it fetches, asks and serves over.
import type { Log } from '../../base/log.ts'
import { createIdentity, type Identity } from '../../swarm/identity.ts'
import { SwarmNode } from '../../swarm/node.ts'
import type { Membership } from '../../swarm/private/membership.ts'
import type { Surroundings } from '../surroundings.ts'
import { openRendezvous, type MeetingOptions } from './membership.ts'

export interface NodeOptions {
  flags: MeetingOptions
  context: Surroundings
  membership: Membership | undefined
  /** Default: a new one, under which nobody knows it again. */
  identity?: Identity | undefined
  /** Whether this process stays and serves. Default false. */
  serving?: boolean
  /** ready() waits until somebody answers. Default: when it serves. */
  waits?: boolean
  /** UDP port. Default any. */
  port?: number | undefined
  log?: Log
}

/** Makes the node, which joins when ready() is called first; `stack` closes it. */
export async function openNode(
  stack: AsyncDisposableStack,
  options: NodeOptions
): Promise<SwarmNode> {
  const { flags, context, membership, serving = false, port, log = context.log } = options
  const { waits } = options
  const rendezvous = await openRendezvous(flags, membership, { serving, waits }, context)
  const node = stack.use(
    new SwarmNode({
      rendezvous,
      waits: waits ?? false,
      identity: options.identity ?? createIdentity(),
      membership,
      log,
      ...(port === undefined ? {} : { port }),
      ...(flags.host === undefined ? {} : { host: flags.host })
    })
  )
  // One that has joined leaves in order.
  const onabort = (): void => {
    if (!node.opened) void node.close()
  }
  context.signal.addEventListener('abort', onabort, { once: true })
  return node
}

/**
 * Begins to join while other things are done; whoever awaits ready() hears what came of it.
 * @param onfailure told when it cannot
 */
export function joinSoon(node: SwarmNode, onfailure: (error: unknown) => void = () => {}): void {
  node.ready().catch(onfailure)
}
