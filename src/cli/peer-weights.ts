// Weights from peers and for them, as commands use them: on, unless --no-peer-weights turns it off. A node is
// opened only when something is missing here.
import { badInput } from '../base/errors.ts'
import { UPLOAD_LIMIT, WeightExchange } from '../weights/weight-exchange.ts'
import type { Meeting } from '../swarm/meeting.ts'
import type { Membership } from '../swarm/private/membership.ts'
import type { SwarmNode } from '../swarm/node.ts'
import type { Context } from './context.ts'
import { openNode } from './open-node.ts'
import { parseBytes } from './options.ts'
import type { SwarmFlags } from './swarm/swarm-access.ts'

export interface PeerFlags {
  /** False with --no-peer-weights. */
  peerWeights?: boolean | undefined
}

export interface ManifestFlags {
  manifest?: string | undefined
}

export interface UploadFlags {
  uploadLimit?: string | undefined
}

export interface WeightNodeOptions {
  flags: PeerFlags & SwarmFlags
  context: Context
  membership: Membership | undefined
  /** Where the swarm is met, when that is open already. */
  meeting?: Meeting | undefined
  /** Closes the node. Default: what closes the exchange. */
  nodes?: AsyncDisposableStack
}

/** Weights over a node of their own, which is opened when it is needed. Undefined: turned off. */
export function openWeightNode(
  stack: AsyncDisposableStack,
  options: WeightNodeOptions
): WeightExchange | undefined {
  const { flags, context, membership, meeting, nodes = stack } = options
  if (flags.peerWeights === false) return undefined
  const { log } = context
  let opening: Promise<SwarmNode> | undefined
  const open = async (): Promise<SwarmNode> => {
    const { handlers } = weights
    const opened = await openNode(nodes, { flags, context, membership, log, handlers, meeting })
    await opened.ready()
    return opened.node
  }
  const weights = stack.use(new WeightExchange({ node: () => (opening ??= open()), log }))
  return weights
}

/** --upload-limit in bytes a second. @throws AppError BAD_INPUT */
export function uploadLimit(flags: UploadFlags): number {
  const limit = parseBytes('upload-limit', flags.uploadLimit) ?? UPLOAD_LIMIT
  if (limit >= MIN_LIMIT) return limit
  throw badInput(`--upload-limit cannot be '${flags.uploadLimit}'`, {
    hint: 'Give at least 64k bytes a second, or --no-peer-weights'
  })
}

/** A piece a second. */
const MIN_LIMIT = 2 ** 16

/** --manifest: roots with commas between, as petals verify prints them. @throws AppError BAD_INPUT */
export function manifestRoots(flags: ManifestFlags): readonly string[] | undefined {
  if (flags.manifest === undefined) return undefined
  const roots = flags.manifest.toLowerCase().split(',')
  if (roots.every((root) => /^[0-9a-f]{64}$/.test(root))) return roots
  throw badInput(`--manifest cannot be '${flags.manifest}'`, {
    hint: 'Give what petals verify MODEL prints where the whole model is: 64 hex digits a file'
  })
}
