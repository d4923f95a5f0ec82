// `petals plan MODEL`: what fits this machine, and how fast the model would be here alone, through
// the swarm as it is, and with this machine in it.
import type { BlockSpan } from '../../base/block-span.ts'
import { formatBytes } from '../../base/bytes.ts'
import { toAppError } from '../../base/errors.ts'
import { silentLog } from '../../base/log.ts'
import type { Progress } from '../../base/progress.ts'
import { stderrProgress } from '../terminal/stderr.ts'
import { defaultKv } from '../../blocks/span-plan.ts'
import type { ComputeApi, KvType, Quant } from '../../blocks/types.ts'
import { chooseDtype } from '../../client/client.ts'
import { forecast } from '../../client/route/forecast.ts'
import { uncovered, type RouteHop } from '../../client/route/route.ts'
import { blockTensorNames } from '../../model/needed-tensors.ts'
import type { Model } from '../../model/types.ts'
import { missingOf } from '../../server/placement/budget.ts'
import {
  joinSpan,
  PLAN_QUANTS,
  quantFit,
  sampleRange,
  type QuantFit
} from '../../server/placement/plan.ts'
import type { ServerInfo } from '../../wire/types.ts'
import type { Context } from '../context.ts'
import { diskRoom } from '../disk-room.ts'
import { openNamedModel, startCompute, type EngineOptions } from '../engine.ts'
import { joinSoon, openNode } from '../../library/open/node.ts'
import { parseChoice, parseKv } from '../options.ts'
import { print } from '../output.ts'
import { openWeights, type PeerFlags } from '../peer-weights.ts'
import { startClient, type OwnTimes, type OwnWork } from '../plan/plan-client.ts'
import { measureServing, type ServingTimes } from '../plan/plan-measure.ts'
import { HERE, hereHop, SwarmView } from '../plan/plan-swarm.ts'
import { planJson, planText, type Outlook, type Plan } from '../plan/plan-text.ts'
import { namedModel, openMembership, type SwarmOptions } from '../../library/open/membership.ts'
import { transferLine } from '../../library/open/transfer-line.ts'

const CLIENT_ROUNDS = 32

export interface PlanFlags extends EngineOptions, SwarmOptions, PeerFlags {
  quant?: string | undefined
  kv?: string | undefined
  disk?: string | undefined
  /** Without looking at the swarm. */
  alone?: boolean | undefined
  json?: boolean | undefined
}

/** Returns the exit code. */
export async function runPlan(name: string, flags: PlanFlags, context: Context): Promise<number> {
  const quant = parseChoice<Quant>('quant', flags.quant, PLAN_QUANTS) ?? 'native'
  const kv = parseKv(flags)
  const diskBytes = await diskRoom(context.paths.cache, flags.disk)
  const membership = await openMembership(flags, context)
  await using stack = new AsyncDisposableStack()
  const log = context.debug ? context.log : silentLog
  const node = flags.alone ? undefined : await openNode(stack, { flags, context, membership, log })
  if (node) joinSoon(node)
  const weights = node && openWeights(stack, node, flags, context)
  const model = await openNamedModel(name, context, { need: 'facts', disk: flags.disk, weights })
  const progress = stderrProgress()
  stack.defer(() => {
    progress.done()
    model.close()
  })
  const compute = stack.use(await startCompute(flags, context))
  const memoryBytes = (await compute.stats()).freeBytes
  const fits = PLAN_QUANTS.map((each) => quantFit(model, each, { memoryBytes, diskBytes }, kv))
  const fit = fits.find((each) => each.quant === quant)
  if (!fit) throw new TypeError(`No sizes for ${quant}`)
  progress.update('looking for servers')
  const { signal } = context
  const named = namedModel(model, name)
  const view =
    node && (await orWhy(() => SwarmView.open({ context, model, named, node, signal }), signal))
  if (view instanceof SwarmView) stack.use(view)
  const servers = view instanceof SwarmView ? view.servers : []
  const { blockCount } = model.config
  const span = fit.blocks > 0 ? joinSpan(servers, blockCount, fit.blocks) : undefined
  const facts = { compute, model, fit, kv, span, servers, progress, context }
  const { own, client, serving } = await measure(stack, facts)
  progress.update('trying servers')
  const plan: Plan = {
    name,
    blockCount,
    hiddenSize: model.config.hiddenSize,
    threads: compute.threads,
    memoryBytes,
    diskBytes,
    fits,
    quant,
    kv: isOnCpu(flags) ? (kv ?? defaultKv(quant)) : 'f32',
    client,
    serving,
    span,
    fetchBytes: span
      ? model.missingBytes(blockTensorNames(model.tensors, span.start, span.end))
      : 0,
    servers: view instanceof SwarmView ? servers.length : undefined,
    outlooks: [
      aloneOutlook(fit, client, serving),
      ...(await swarmOutlooks(view, { blockCount, span, own, client, serving }))
    ]
  }
  progress.done()
  const json = flags.json === true
  return await print(json ? `${JSON.stringify(planJson(plan), undefined, 2)}\n` : planText(plan))
}

function isOnCpu({ device = 'cpu' }: PlanFlags): boolean {
  return device === 'cpu'
}

interface MeasureFacts {
  compute: ComputeApi
  model: Model
  fit: QuantFit
  kv: KvType | undefined
  span: BlockSpan | undefined
  servers: readonly ServerInfo[]
  progress: Progress
  context: Context
}

interface Measured {
  own: OwnWork
  client: OwnTimes | undefined
  serving: ServingTimes | undefined
}

/** Fetches blocks to measure if none are here, and measures. */
async function measure(stack: AsyncDisposableStack, facts: MeasureFacts): Promise<Measured> {
  const { compute, model, fit, kv, span, servers, progress, context } = facts
  const { signal, log } = context
  const dtype = chooseDtype(model.config, servers)
  const common = { compute, model, quant: fit.quant, dtype }
  if (!span) {
    progress.update('measuring')
    const own = await startClient(stack, common)
    for (let round = 0; round < CLIENT_ROUNDS && !signal.aborted; round++) await own.between()
    return { own, client: own.times(), serving: undefined }
  }
  const sample = sampleRange(fit.sizes, span, missingOf(model))
  const what = `blocks ${sample.start}:${sample.end}`
  await model.ensure(blockTensorNames(model.tensors, sample.start, sample.end), {
    signal,
    onprogress: transferLine(progress, what)
  })
  progress.update(`measuring ${what}`)
  const own = await startClient(stack, common)
  const { between } = own
  const serving = await measureServing({ ...common, kv, sample, between, log, signal })
  const msPerByte =
    (serving.engine.blockMs * (sample.end - sample.start)) / serving.span.weightBytes
  return { own, client: own.times(msPerByte * fit.sizes.headBytes), serving }
}

function aloneOutlook(
  fit: QuantFit,
  client: OwnTimes | undefined,
  serving: ServingTimes | undefined
): Outlook {
  const { blockCount } = fit.sizes.config
  if (!fit.alone || !client || !serving) {
    const why =
      fit.blocks < blockCount
        ? `${fit.blocks} of ${blockCount} blocks fit in ${fit.quant}`
        : `all blocks fit, but not with the head's ${formatBytes(fit.sizes.headBytes)} beside them`
    return { name: 'alone', kind: 'none', why }
  }
  const hop = hereHop({ peer: HERE, start: 0, end: blockCount }, serving)
  const foretold = forecast([hop], client.times)
  return { name: 'alone', kind: 'forecast', forecast: foretold, claimed: false }
}

interface SwarmFacts extends Measured {
  blockCount: number
  span: BlockSpan | undefined
}

async function swarmOutlooks(
  view: SwarmView | string | undefined,
  { blockCount, span, own, client, serving }: SwarmFacts
): Promise<Outlook[]> {
  if (view === undefined) return []
  if (typeof view === 'string') return [{ name: 'swarm', kind: 'none', why: view }]
  const outlook = async (
    name: Outlook['name'],
    hops: readonly RouteHop[] | undefined,
    served: readonly BlockSpan[]
  ): Promise<Outlook> => {
    if (!hops) return { name, kind: 'none', why: whyNone(served, view.silent, blockCount) }
    if (!client) return { name, kind: 'none', why: 'the head is neither here nor measured' }
    const foretold = await view.forecast(hops, client.times, serving, own.between)
    const claimed = hops.some((hop) => view.isClaimed(hop))
    return { name, kind: 'forecast', forecast: foretold, claimed }
  }
  const asItIs = await outlook('swarm', view.route(), view.servers)
  if (!span || !serving) return [asItIs]
  const joined = view.routeWith(span, serving)
  return [asItIs, await outlook('joined', joined, [...view.servers, span])]
}

function whyNone(
  served: readonly BlockSpan[],
  silent: readonly BlockSpan[],
  blockCount: number
): string {
  if (served.length + silent.length === 0) return 'no servers'
  const gaps = uncovered([...served, ...silent], 0, blockCount)
  const missing = gaps.length > 0 ? gaps : uncovered(served, 0, blockCount)
  const blocks = missing.map(([from, to]) => `${from}:${to}`).join(', ')
  return gaps.length > 0
    ? `nobody serves blocks ${blocks}`
    : `the servers of blocks ${blocks} do not answer yet`
}

/** A swarm that cannot be reached does not prevent a plan without one. */
async function orWhy(
  open: () => Promise<SwarmView>,
  signal: AbortSignal
): Promise<SwarmView | string> {
  try {
    return await open()
  } catch (thrown) {
    const error = toAppError(thrown)
    if (signal.aborted || error.code === 'DENIED' || error.code === 'INTERNAL') throw error
    return error.message
  }
}
