// `petals join MODEL`: serves blocks of a model until it is told to stop.
import { requireOwnAddress } from '../swarm/own-address.ts'
import type { BlockSpan } from '../../base/block-span.ts'
import { formatBytes } from '../../base/bytes.ts'
import { deadline } from '../../base/clock.ts'
import { badInput, toAppError } from '../../base/errors.ts'
import { serverProgress } from '../terminal/stderr.ts'
import type { LogFields } from '../../base/log.ts'
import type { Quant, SpanInfo } from '../../blocks/types.ts'
import type { Model } from '../../model/types.ts'
import { findAlias } from '../../model/aliases.ts'
import { Host } from '../../server/host.ts'
import type { Speed } from '../../server/measure.ts'
import type { Membership } from '../../swarm/private/membership.ts'
import type { Context } from '../context.ts'
import { claimIdentity } from '../claim-identity.ts'
import type { Measured, MetricsPort } from '../metrics-port.ts'
import { diskRoom } from '../disk-room.ts'
import { openNamedModel, startCompute, type EngineOptions } from '../engine.ts'
import { untilAborted } from '../lifetime.ts'
import { openAdapters } from '../../library/open/adapters.ts'
import type { AdapterPack } from '../../weights/adapters/adapter-pack.ts'
import { joinSoon, openNode } from '../../library/open/node.ts'
import type { PetalsParts } from '../../library/petals.ts'
import { parseBlocks, parseBytes, parseChoice, parseKv, parseWhole } from '../options.ts'
import type { WeightExchange } from '../../weights/weight-exchange.ts'
import {
  manifestRoots,
  openWeights,
  uploadLimit,
  type ManifestFlags,
  type PeerFlags,
  type UploadFlags
} from '../peer-weights.ts'
import { rememberModel } from '../chat/remember.ts'
import { namedModel, openMembership, type SwarmOptions } from '../../library/open/membership.ts'
import { transferLine } from '../../library/open/transfer-line.ts'

export interface JoinFlags
  extends EngineOptions, SwarmOptions, PeerFlags, ManifestFlags, UploadFlags {
  blocks?: string | undefined
  quant?: string | undefined
  kv?: string | undefined
  port?: string | undefined
  host?: string | undefined
  identity?: string | undefined
  disk?: string | undefined
  prefixCache?: string | undefined
  tune?: boolean | undefined
  tuneMemory?: string | undefined
  adapters?: readonly string[] | undefined
  adapterMemory?: string | undefined
  metricsPort?: string | undefined
}

const GIVING_MS = 1000
/** When the server is told to stop, sessions that run get a few steps to fail over. */
const DRAIN_MS = 2_500
const QUANTS: readonly Quant[] = ['native', 'f32', 'f16', 'int8', 'int4']

/**
 * @param alongside Called when it serves; what it opens on the stack is closed before the server
 */
export async function runJoin(
  name: string,
  flags: JoinFlags,
  context: Context,
  alongside?: (stack: AsyncDisposableStack, parts: PetalsParts) => Promise<void>
): Promise<void> {
  const blocks = parseBlocks(flags.blocks)
  const quant = parseChoice('quant', flags.quant, QUANTS) ?? 'native'
  const kv = parseKv(flags)
  const note = quantNote(quant)
  if (note !== undefined) context.log.info(note)
  const port = parseWhole('port', flags.port, 0, 65_535)
  if (flags.host !== undefined) requireOwnAddress('host', flags.host)
  const callBytes = parseBytes('tune-memory', flags.tuneMemory)
  const keepBytes = readSize('prefix-cache', flags.prefixCache)
  const adapterBytes = readSize('adapter-memory', flags.adapterMemory)
  const { adapters: wanted = [] } = flags
  if (adapterBytes === 0 && wanted.length > 0) {
    throw badInput('--adapters needs memory for them', { hint: 'Leave --adapter-memory off out' })
  }
  const metrics = await openMetrics(flags, () => ({ name, model, quant, host, weights }))
  const membership = await openMembership(flags, context)
  membership?.require('serve')
  const limit = uploadLimit(flags)
  await using stack = new AsyncDisposableStack()
  const claimed = await claimIdentity(flags.identity, identityName(name, membership), context)
  stack.defer(() => claimed.release())
  const { identity } = claimed
  const node = await openNode(stack, { flags, context, membership, identity, serving: true, port })
  joinSoon(node)
  const weights = openWeights(stack, node, flags, context)
  const words: string[] = []
  let isUnverified = false
  const progress = serverProgress(context.log)
  const model = await openNamedModel(name, context, {
    need: 'facts',
    disk: flags.disk,
    weights,
    roots: manifestRoots(flags),
    progress,
    onword(word, isKnownByPeers) {
      words.push(word)
      isUnverified = isKnownByPeers
    }
  })
  checkBlocks(blocks, name, model)
  const adapters = await openOwnAdapters(wanted, model, context)
  const diskBytes = await diskRoom(context.paths.cache, flags.disk)
  const compute = stack.use(await startCompute(flags, context))
  const host: Host = new Host({
    compute,
    model,
    name,
    publicName: findAlias(name)?.name ?? words[0],
    blocks,
    quant,
    kv,
    keepBytes,
    training: flags.tune === false ? false : { callBytes },
    adapterBytes,
    adapters,
    diskBytes,
    aliases: namedModel(model, name).names,
    node,
    drainMs: DRAIN_MS,
    log: context.log,
    signal: context.signal,
    listener: metrics?.listener,
    onserving: (span, speed) => {
      progress.done()
      host.events.moved(
        describe(name, model, { span, speed, quant, peer: host.peer }),
        factsOf(span)
      )
    },
    onstage: (stage) => progress.stage(stage),
    onfetch: transferLine(progress, name)
  })
  let giving: Promise<void> | undefined
  const beside = new AsyncDisposableStack()
  try {
    if (metrics) context.log.info(`metrics at ${metrics.listen(stack)}/metrics`)
    await host.ready()
    progress.done()
    const { span, speed } = host
    for (const note of span.notes) context.log.debug(note)
    host.events.tell(
      'ready',
      describe(name, model, { span, speed, quant, peer: host.peer }),
      factsOf(span)
    )
    await rememberModel(context, name)
    if (weights) giving = give(weights, { model, words, isUnverified, limit, host, context })
    await alongside?.(beside, { node, compute, weights, membership, host, quant })
    const ended = await Promise.race([untilAborted(context.signal), node.barred, host.failed])
    if (ended) throw ended
  } finally {
    progress.done()
    await beside.disposeAsync()
    // An announcement that nobody accepts must not delay the end.
    if (giving) await deadline(giving, GIVING_MS).catch(() => {})
    await host.close()
  }
}

/** Its packages are loaded only where they are asked for. @throws AppError BAD_INPUT */
async function openMetrics(
  { metricsPort }: JoinFlags,
  measured: () => Measured
): Promise<MetricsPort | undefined> {
  if (metricsPort === undefined) return undefined
  const { MetricsPort } = await import('../metrics-port.ts')
  return new MetricsPort(metricsPort, measured)
}

/** What users of this quantisation may not expect. */
export function quantNote(quant: Quant): string | undefined {
  if (quant !== 'f16') return undefined
  return (
    'f16: weights are rounded to float16 but held as float32, 32 bits each: ' +
    'int8 takes about a quarter of that, native what the file takes'
  )
}

/** Describes what is served, in one line. */
function describe(
  name: string,
  model: Model,
  of: { span: SpanInfo; speed: Speed; quant: Quant; peer: string }
): string {
  const { start, end, weightBytes } = of.span
  const rate = (of.speed.decode / (end - start)).toFixed(1)
  return (
    `${name} blocks ${start}:${end} of ${model.config.blockCount} as ${of.peer.slice(0, 8)}, ` +
    `${of.quant}, ${formatBytes(weightBytes)}, ${rate} tokens/s through them`
  )
}

/** The same for machines. */
function factsOf({ start, end, weightBytes }: SpanInfo): LogFields {
  return { start, end, weightBytes }
}

interface Giving {
  model: Model
  words: readonly string[]
  isUnverified: boolean
  limit: number
  host: Host
  context: Context
}

/** Lets others fetch what is here. Failing to do so does not stop serving. */
async function give(weights: WeightExchange, giving: Giving): Promise<void> {
  const { model, words, isUnverified, limit, host, context } = giving
  try {
    await weights.give({
      model,
      words,
      isUnverified,
      cacheDir: context.paths.cache,
      uploadLimit: limit,
      stepsUnderWay: () => host.load.queue
    })
  } catch (error) {
    context.log.warn(`weights are not given to others: ${toAppError(error).message}`)
  }
}

/** A size, or off; undefined: the host decides. */
function readSize(name: string, value: string | undefined): number | undefined {
  return value === 'off' ? 0 : parseBytes(name, value)
}

/** Adapters that the server holds for everybody; tells their ids. @throws AppError */
async function openOwnAdapters(
  names: readonly string[],
  model: Model,
  context: Context
): Promise<readonly AdapterPack[]> {
  const progress = serverProgress(context.log)
  const opened = await openAdapters(names, { surroundings: context, model, progress })
  for (const [i, { pack }] of opened.entries()) {
    context.log.info(`adapter ${names[i]}: others use it with --adapter ${pack.name}`)
  }
  return opened.map(({ pack }) => pack)
}

/** In each swarm another key, so that nobody can tell that two swarms have the same server. */
function identityName(model: string, membership: Membership | undefined): string {
  return membership ? `${model}-${membership.swarmId.slice(0, 16)}` : model
}

function checkBlocks(blocks: BlockSpan | undefined, name: string, model: Model): void {
  const { blockCount } = model.config
  if (!blocks || blocks.end <= blockCount) return
  throw badInput(
    `Blocks ${blocks.start}:${blocks.end} cannot be served: '${name}' has ${blockCount}`,
    { hint: `Give a range within 0:${blockCount}` }
  )
}
