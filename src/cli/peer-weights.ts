// Weights from peers and for peers, as commands use them: on, unless --no-peer-weights is given.
import { badInput } from '../base/errors.ts'
import { UPLOAD_LIMIT, WeightExchange } from '../weights/weight-exchange.ts'
import type { SwarmNode } from '../swarm/node.ts'
import type { Context } from './context.ts'
import { parseBytes } from './options.ts'

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

/** Weights over this process's node, which joins for them when needed. Undefined if turned off. */
export function openWeights(
  stack: AsyncDisposableStack,
  node: SwarmNode,
  flags: PeerFlags,
  context: Context
): WeightExchange | undefined {
  if (flags.peerWeights === false) return undefined
  return stack.use(new WeightExchange({ node, log: context.log }))
}

/** --upload-limit in bytes a second. @throws AppError BAD_INPUT */
export function uploadLimit(flags: UploadFlags): number {
  const limit = parseBytes('upload-limit', flags.uploadLimit) ?? UPLOAD_LIMIT
  if (limit >= MIN_LIMIT) return limit
  throw badInput(`--upload-limit cannot be '${flags.uploadLimit}'`, {
    hint: 'Give at least 64k bytes a second, or --no-peer-weights'
  })
}

/** One piece a second. */
const MIN_LIMIT = 2 ** 16

/**
 * --manifest: roots separated by commas, as petals verify prints them. @throws AppError BAD_INPUT
 */
export function manifestRoots(flags: ManifestFlags): readonly string[] | undefined {
  if (flags.manifest === undefined) return undefined
  const roots = flags.manifest.toLowerCase().split(',')
  if (roots.every((root) => /^[0-9a-f]{64}$/.test(root))) return roots
  throw badInput(`--manifest cannot be '${flags.manifest}'`, {
    hint: 'Give what petals verify MODEL prints where the whole model is: 64 hex digits a file'
  })
}
