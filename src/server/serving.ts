// What a host serves at a time: blocks in the engine, their measured speed, and their sessions.
// Created anew when a host moves to other blocks. Called by host.ts. Knows no directory.
import type { BlockSpan } from '../base/block-span.ts'
import type { Clock } from '../base/clock.ts'
import { AppError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { sizesOf } from '../blocks/sizes.ts'
import type { ComputeApi, KvType, Quant, SpanInfo } from '../blocks/types.ts'
import { blockTensorNames } from '../model/needed-tensors.ts'
import type { EnsureOptions, Model } from '../model/types.ts'
import { BlockServer } from './sessions/block-server.ts'
import { sessionTokens } from './placement/budget.ts'
import type { ServerEvents } from './events.ts'
import {
  packSource,
  type AdapterPack,
  type AdapterSource
} from '../weights/adapters/adapter-pack.ts'
import type { Reach, ServerLink } from './links.ts'
import { TrainServer, type TrainLimits } from './training/train-server.ts'
import { measureSpeed, type Speed } from './measure.ts'

export interface Serving {
  readonly span: SpanInfo
  readonly speed: Speed
  readonly server: BlockServer
  /** Absent where no training steps are taken. */
  readonly trainer: TrainServer | undefined
}

export interface ServingOptions {
  compute: ComputeApi
  model: Model
  quant: Quant
  /** Default: see SpanOptions. */
  kv?: KvType | undefined
  /** This server's public key, 32 bytes. */
  self: Uint8Array
  reach: Reach
  /** Memory for kept prefixes, in bytes. Default: see prefix-keeper.ts. */
  keepBytes?: number | undefined
  /** Memory for adapters, in bytes; 0: none are used. Default: see adapterMemory(). */
  adapterBytes?: number | undefined
  /** What the peer of a link gives of its sessions' adapters. */
  sourceOf?: ((link: ServerLink) => AdapterSource | undefined) | undefined
  /** Adapters that are for everybody. */
  adapters?: readonly AdapterPack[] | undefined
  /** Memory of training steps; false: none are taken. Default: see train-server.ts. */
  training?: TrainLimits | false | undefined
  events: ServerEvents
  clock: Clock
  log: Log
  signal?: AbortSignal | undefined
  /** Called with what is being done. */
  onstage: (stage: string) => void
  onfetch?: EnsureOptions['onprogress']
}

/** Bytes of these blocks that are not on this machine yet. */
export function missingBytes(model: Model, { start, end }: BlockSpan): number {
  return model.missingBytes(blockTensorNames(model.tensors, start, end))
}

/**
 * Fetches the weights of these blocks that are not on this machine yet. @throws AppError of the
 * download
 */
export async function fetchBlocks(
  { start, end }: BlockSpan,
  options: Pick<ServingOptions, 'model' | 'signal' | 'onstage' | 'onfetch'>
): Promise<void> {
  const { model, signal, onstage, onfetch } = options
  if (missingBytes(model, { start, end }) > 0) onstage(`fetching blocks ${start}:${end}`)
  const names = blockTensorNames(model.tensors, start, end)
  await model.ensure(names, { signal, onprogress: onfetch })
}

/** Loads blocks whose weights are here. @throws AppError NO_MEMORY, or the engine's error */
export async function openServing(range: BlockSpan, options: ServingOptions): Promise<Serving> {
  const { compute, model, quant, kv, keepBytes, signal, clock, log, onstage } = options
  const { start, end } = range
  onstage(`loading blocks ${start}:${end}`)
  const { location } = model
  const span = await compute.loadSpan({ location, start, end, quant, kv }, signal)
  try {
    onstage('measuring')
    const speed = await measureSpeed(compute, span, { clock, signal })
    const { freeBytes } = await compute.stats()
    const sizes = sizesOf(model.config, model.tensors, { quant, kv })
    const limitBytes = span.adapts === true ? (options.adapterBytes ?? adapterMemory(freeBytes)) : 0
    const capacityTokens = sessionTokens(sizes, end - start, freeBytes - limitBytes)
    if (capacityTokens < 1) throw noRoom()
    const server = new BlockServer({
      compute,
      span,
      model: model.contentId,
      self: options.self,
      capacityTokens,
      reach: options.reach,
      events: options.events,
      adapters: { config: model.config, limitBytes, sourceOf: options.sourceOf },
      ...(keepBytes === undefined
        ? {}
        : { keep: { tokens: Math.floor(keepBytes / span.kvBytesPerToken) } }),
      clock,
      log
    })
    await server.ready()
    await preload(server, options)
    return { span, speed, server, trainer: openTrainer(span, server, options) }
  } catch (error) {
    await compute.unloadSpan(span.span)
    throw error
  }
}

function openTrainer(
  span: SpanInfo,
  server: BlockServer,
  { compute, model, events, training = {}, clock, log }: ServingOptions
): TrainServer | undefined {
  if (training === false || span.trains !== true) return undefined
  return new TrainServer({
    compute,
    span,
    config: model.config,
    model: model.contentId,
    status: () => server.status(),
    events,
    ...training,
    clock,
    log
  })
}

/** Ends all sessions and frees the weights. */
export async function closeServing(
  { server, trainer, span }: Serving,
  compute: ComputeApi
): Promise<void> {
  trainer?.close()
  await server.close()
  await compute.unloadSpan(span.span)
}

/** A sixteenth of what sessions have, at most 1 GiB: a few dozen adapters of a small model. */
export function adapterMemory(freeBytes: number): number {
  return Math.floor(Math.min(2 ** 30, freeBytes / 16))
}

/** Loads the adapters that are for everybody. @throws AppError NO_MEMORY, UNSUPPORTED */
async function preload(server: BlockServer, { adapters = [] }: ServingOptions): Promise<void> {
  const source = packSource((id) => adapters.find(({ name }) => name === id))
  for (const { name } of adapters) {
    if (server.adapters === undefined) throw new TypeError('The server has no adapters')
    await server.adapters.preload(name, source)
  }
}

function noRoom(): AppError {
  return new AppError('NO_MEMORY', 'No memory is left for sessions beside the weights', {
    hint: 'Serve fewer blocks (--blocks), or give more with --memory'
  })
}
