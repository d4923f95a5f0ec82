// Measures how fast this machine would serve: a block server and a client in this process, over
// real links on loopback, step by step with the client's own work in between. Called by plan.ts.
// Prints nothing.
import type { BlockSpan } from '../../base/block-span.ts'
import type { Log } from '../../base/log.ts'
import type { KvType, SpanInfo } from '../../blocks/types.ts'
import { swarmConnections } from '../../client/connections.ts'
import { engineTimes, type EngineTimes, type HopTimes } from '../../client/route/forecast.ts'
import { tryChains } from '../../client/route/trial.ts'
import { BlockServer } from '../../server/sessions/block-server.ts'
import { describeSpan } from '../../server/describe.ts'
import { startBootstrap } from '../../swarm/dht/bootstrap.ts'
import { createIdentity } from '../../swarm/identity.ts'
import { SwarmNode } from '../../swarm/node.ts'
import type { ServerInfo } from '../../wire/types.ts'
import type { ClientOptions } from './plan-client.ts'

export interface MeasureOptions extends ClientOptions {
  /** How keys and values are held. Default: as for join. */
  kv: KvType | undefined
  /** Blocks to measure, which are on this machine already. */
  sample: BlockSpan
  /** The client's own part of a step. */
  between: () => Promise<void>
  log: Log
  signal: AbortSignal
}

/** This machine's speed as a server for a client on it. */
export interface ServingTimes {
  readonly sample: BlockSpan
  readonly engine: EngineTimes
  /** All blocks of the sample, as a hop on loopback. */
  readonly hop: HopTimes
  readonly span: SpanInfo
}

/**
 * A trip between two programs takes longer than within this one, because each is asleep when its
 * turn comes: 1.2 ms instead of 0.8 (two AMD EPYC cores of a virtual machine).
 */
const PROCESS_MS = 0.4

/** @throws AppError NO_MEMORY, COMPUTE, CANCELLED */
export async function measureServing(options: MeasureOptions): Promise<ServingTimes> {
  const { compute, model, quant, kv, sample, signal, dtype, between } = options
  await using stack = new AsyncDisposableStack()
  const { start, end } = sample
  const span = await compute.loadSpan({ location: model.location, start, end, quant, kv }, signal)
  stack.defer(() => compute.unloadSpan(span.span).catch(() => {}))
  const loopback = stack.use(await startBootstrap({ port: 0 }))
  const bootstrap = [{ host: loopback.host, port: loopback.port }]
  const peer = await startServer(stack, { ...options, bootstrap, span })
  const node = stack.use(new SwarmNode({ bootstrap, identity: createIdentity() }))
  const connections = swarmConnections(node)
  await node.ready()
  const [few, all] = await tryChains([[{ peer, start, end: start + 1 }], [{ peer, start, end }]], {
    connections,
    model: model.contentId,
    hiddenSize: model.config.hiddenSize,
    dtype,
    between,
    signal
  })
  for (const tried of [few, all]) if (tried?.kind === 'failed') throw tried.error
  if (few?.kind !== 'times' || all?.kind !== 'times') throw new TypeError('Nothing was tried')
  const engine = engineTimes(
    { blocks: 1, ms: few.times.computeMs },
    { blocks: end - start, ms: all.times.computeMs }
  )
  const tripMs = all.times.tripMs + PROCESS_MS
  return { sample, engine, hop: { peer, start, end, ...all.times, tripMs }, span }
}

interface ServerFacts extends MeasureOptions {
  bootstrap: readonly { host: string; port: number }[]
  span: SpanInfo
}

/** Serves the span for the local client; returns its key in hex. */
async function startServer(stack: AsyncDisposableStack, facts: ServerFacts): Promise<string> {
  const { compute, model, span, bootstrap, log } = facts
  const identity = createIdentity()
  const server = stack.use(
    new BlockServer({
      compute,
      span,
      model: model.contentId,
      self: identity.publicKey,
      capacityTokens: span.maxTokens,
      reach: () => Promise.reject(new TypeError('A server by itself pushes to nobody')),
      log
    })
  )
  await server.ready()
  const node = stack.use(new SwarmNode({ bootstrap, identity }))
  node.handle({
    onopen: (link, message) => void server.open(link, message),
    onstep: (link, message) => server.step(link, message),
    onclosesession: (link, message) => void server.closeSession(link, message),
    onclosed: (link) => void server.disconnected(link),
    status: () => server.status()
  })
  await node.ready()
  await node.serve(infoOf(facts))
  return node.peer
}

/** Filled in only because a record requires it. */
function infoOf({ model, quant, span }: ServerFacts): ServerInfo {
  const speed = { decode: 1, prefill: 0 }
  return describeSpan({ model, span, quant, speed, freeTokens: span.maxTokens, version: 'plan' })
}
