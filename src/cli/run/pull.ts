// `petals pull MODEL`: fetches a model, or some of its blocks, before it is needed.
import { formatBytes } from '../../base/bytes.ts'
import { badInput } from '../../base/errors.ts'
import { stderrProgress } from '../terminal/stderr.ts'
import { blockTensorNames } from '../../model/needed-tensors.ts'
import type { WeightExchange } from '../../weights/weight-exchange.ts'
import type { Context } from '../context.ts'
import { openNamedModel } from '../engine.ts'
import { openNode } from '../../library/open/node.ts'
import { parseBlocks } from '../options.ts'
import { manifestRoots, openWeights, type ManifestFlags, type PeerFlags } from '../peer-weights.ts'
import { openMembership, type SwarmOptions } from '../../library/open/membership.ts'
import { transferLine } from '../../library/open/transfer-line.ts'

export interface PullFlags extends SwarmOptions, PeerFlags, ManifestFlags {
  blocks?: string | undefined
  disk?: string | undefined
}

export async function runPull(name: string, flags: PullFlags, context: Context): Promise<void> {
  const blocks = parseBlocks(flags.blocks)
  await using stack = new AsyncDisposableStack()
  const weights = await openPullWeights(stack, flags, context)
  const model = await openNamedModel(name, context, {
    need: 'facts',
    disk: flags.disk,
    weights,
    roots: manifestRoots(flags)
  })
  const progress = stderrProgress()
  try {
    const { tensors, config } = model
    if (blocks && blocks.end > config.blockCount) {
      throw badInput(`There are no blocks ${blocks.start}:${blocks.end}`, {
        hint: `'${name}' has ${config.blockCount}: give a range within 0:${config.blockCount}`
      })
    }
    const names = blocks
      ? blockTensorNames(tensors, blocks.start, blocks.end)
      : tensors.list().map((info) => info.name)
    const { signal } = context
    await model.ensure(names, { signal, onprogress: transferLine(progress, name) })
    progress.done()
    const sizeBytes = names.reduce((sum, each) => sum + tensors.info(each).sizeBytes, 0)
    const what = blocks ? `blocks ${blocks.start}:${blocks.end} of ` : ''
    context.log.info(`${what}${name} ${blocks ? 'are' : 'is'} here: ${formatBytes(sizeBytes)}`)
  } finally {
    progress.done()
    model.close()
  }
}

/** Peers are asked only if a swarm is named: a pull alone is no reason to join the public one. */
async function openPullWeights(
  stack: AsyncDisposableStack,
  flags: PullFlags,
  context: Context
): Promise<WeightExchange | undefined> {
  const membership = await openMembership(flags, context)
  const isNamed = membership !== undefined || flags.lan === true || context.bootstrap.length > 0
  if (!isNamed) return undefined
  const node = await openNode(stack, { flags, context, membership })
  return openWeights(stack, node, flags, context)
}
