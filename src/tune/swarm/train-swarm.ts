// The servers of a model as training uses them: planned like a session's, called with pieces of the
// adapter that each one's blocks need. Knows no rows beyond their sizes.
import type { BlockSpan } from '../../base/block-span.ts'
import type { Clock } from '../../base/clock.ts'
import { noRoute, toAppError, type AppError, type ErrorCode } from '../../base/errors.ts'
import type { TrainStep } from '../../blocks/train/train-types.ts'
import type { ComputeApi } from '../../blocks/types.ts'
import type { Client } from '../../client/client.ts'
import type { LocalServers } from '../../client/route/local-servers.ts'
import { planRoute, type RouteHop } from '../../client/route/route.ts'
import type { SwarmNode } from '../../swarm/node.ts'
import type { NamedModel } from '../../swarm/private/capability.ts'
import { adapterBytes } from '../../wire/codec/tune.ts'
import { bytesOfFloats, floatsOf } from '../../wire/pieces.ts'
import type { ServerInfo, TuneAnswer, TuneCall } from '../../wire/types.ts'
import type { ChainAdapter, SpanAnswer, SpanCall, TrainSwarm } from './chain.ts'
import { TuneCaller, type CallLink } from './tune-caller.ts'

export interface SwarmTrainOptions {
  readonly node: SwarmNode
  readonly client: Pick<Client, 'servers' | 'look' | 'book'>
  /** Content id, 32 bytes. */
  readonly model: Uint8Array
  readonly blockCount: number
  readonly serves: NamedModel
  /** What this process computes itself. */
  readonly here?: { readonly blocks: LocalServers; readonly compute: ComputeApi } | undefined
  readonly clock: Clock
  /** Patience with one call, ms. Default 10 min. */
  readonly deadlineMs?: number | undefined
}

const DEADLINE_MS = 600_000
const CONNECT_MS = 10_000
/** A server that failed is left out for so long, ms, and one that takes no training steps. */
const AVOID_MS = 60_000
const REFUSED_MS = 3_600_000
/** Others may be found for so long after those that take no training, ms. */
const LOOKING_MS = 10_000
/**
 * Codes of servers that take no training steps of this peer, and of those that have no room now.
 */
const REFUSALS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['UNSUPPORTED', 'DENIED'])
const FULL: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['LIMIT', 'NO_MEMORY'])

/** The part of an adapter for some blocks, and who has it already. */
interface AdapterPart {
  readonly id: Uint8Array
  readonly values: Uint8Array
  /** By link, when it is there: micro-batches that are under way together bring it once. */
  readonly holders: WeakMap<object, Promise<void>>
}

export class SwarmTraining implements TrainSwarm, Disposable {
  readonly #options: SwarmTrainOptions
  readonly #caller: TuneCaller
  readonly #stop: () => void
  /** By the adapter's numbers, then by blocks. */
  readonly #parts = new WeakMap<ChainAdapter, Map<string, AdapterPart>>()
  /** Servers on which chats may go on, but no training: until when, and why. */
  readonly #refused = new Map<string, { readonly until: number; readonly error: AppError }>()
  /** Since when all servers that are known take no training; undefined while a route is found. */
  #noneSince: number | undefined
  /** Bytes sent and received, for a report. */
  sentBytes = 0
  receivedBytes = 0

  constructor(options: SwarmTrainOptions) {
    this.#options = options
    this.#caller = new TuneCaller(options.clock)
    this.#stop = options.node.handle({
      ontuned: (link, message) => {
        this.receivedBytes += message.data.byteLength
        this.#caller.ontuned(link, message)
      },
      onclosed: (link, error) => this.#caller.onclosed(link, error)
    })
  }

  async plan(span: BlockSpan): Promise<readonly RouteHop[]> {
    const { client, clock } = this.#options
    const now = clock.now()
    for (const [peer, { until }] of this.#refused) if (until <= now) this.#refused.delete(peer)
    const known = await client.servers()
    try {
      return this.#routeOver(known, span)
    } catch {
      // That search ended with the first that serve every block, who may take no training.
    }
    const all = await client.look()
    try {
      return this.#routeOver(all, span)
    } catch (thrown) {
      const refusal = [...this.#refused.values()].find(({ error }) => REFUSALS.has(error.code))
      const others = all.filter((info) => info.noTraining === true).length
      if (refusal === undefined && others > 0) {
        this.#noneSince ??= now
        throw noTraining(others, now - this.#noneSince < LOOKING_MS)
      }
      if (refusal === undefined) throw thrown
      const { message, hint } = refusal.error
      // Waiting would not help.
      throw noRoute(`No server takes the training's steps: ${message}`, {
        retryable: false,
        ...(hint === undefined ? {} : { hint })
      })
    }
  }

  /** @throws AppError NO_ROUTE */
  #routeOver(all: readonly ServerInfo[], { start, end }: BlockSpan): readonly RouteHop[] {
    const { book } = this.#options.client
    const infos = all.filter(({ noTraining, draining }) => noTraining !== true && !draining)
    const candidates = infos.map((info) => book.candidate(info))
    const refused = [...this.#refused.keys()]
    const avoid = new Set([...book.avoided(this.#options.clock.now()), ...refused])
    let hops: readonly RouteHop[]
    try {
      hops = planRoute(candidates, start, end, { avoid }).hops
    } catch {
      // Servers that failed lately are better than none.
      hops = planRoute(candidates, start, end, { avoid: new Set(refused) }).hops
    }
    this.#noneSince = undefined
    return hops
  }

  async call(call: SpanCall, signal: AbortSignal): Promise<SpanAnswer> {
    const { node, serves, here } = this.#options
    const own = here?.blocks.spanOf?.(call.hop.peer)
    if (here !== undefined && own !== undefined) {
      return here.compute.train(this.#ownStep(call, own.span), signal)
    }
    const key = new Uint8Array(Buffer.from(call.hop.peer, 'hex'))
    const link = await node.connect(key, { signal, timeoutMs: CONNECT_MS, serves })
    const part = this.#part(call)
    const held = part && (await this.#held(link, part, call, signal))
    try {
      return answerOf(await this.#send(link, this.#message(call, part), signal))
    } catch (thrown) {
      const error = toAppError(thrown)
      if (part === undefined || error.code !== 'NOT_FOUND' || !error.retryable) throw error
      // It had to make room for others.
      await this.#held(link, part, call, signal, held?.bringing)
      return answerOf(await this.#send(link, this.#message(call, part), signal))
    }
  }

  failed(peer: string, error: AppError): void {
    const { client, clock } = this.#options
    const isRefusal = REFUSALS.has(error.code)
    if (isRefusal || FULL.has(error.code)) {
      const until = clock.now() + (isRefusal ? REFUSED_MS : AVOID_MS)
      this.#refused.set(peer, { until, error })
      return
    }
    client.book.avoid(peer, clock.now() + AVOID_MS, clock.wall())
  }

  /** A call to blocks that this process computes itself. */
  #ownStep({ hop, step, hidden, gradient }: SpanCall, span: number): TrainStep {
    const { lengths, adapter, dropout, prompts } = step
    const { start, end } = hop
    return {
      span,
      range: { start, end },
      lengths,
      // The engine is given them; the chain keeps its own.
      hidden: hidden.slice(),
      gradient,
      adapter: adapter && {
        shape: adapter.shape,
        values: this.#slice(adapter.values, hop).slice()
      },
      dropout,
      prompts: prompts && this.#slice(prompts, hop).slice()
    }
  }

  /**
   * Waits until the server has the adapter's part for a call's blocks. `lost`: an earlier bringing,
   * which it had to forget.
   */
  async #held(
    link: CallLink,
    part: AdapterPart,
    call: SpanCall,
    signal: AbortSignal,
    lost?: Promise<void>
  ): Promise<{ bringing: Promise<void> }> {
    const { holders } = part
    for (;;) {
      const known = holders.get(link)
      const bringing =
        known === undefined || known === lost ? this.#bring(link, part, call, signal) : known
      holders.set(link, bringing)
      try {
        await bringing
        return { bringing }
      } catch (error) {
        if (holders.get(link) === bringing) holders.delete(link)
        // Another micro-batch brought it and was cancelled.
        if (bringing === known && !signal.aborted && toAppError(error).code === 'CANCELLED')
          continue
        throw error
      }
    }
  }

  async #bring(
    link: CallLink,
    { values }: AdapterPart,
    { hop, step }: SpanCall,
    signal: AbortSignal
  ): Promise<void> {
    const shape = step.adapter?.shape
    if (shape === undefined) return
    await this.#send(link, { ...this.#about(hop), kind: 'adapter', shape, values }, signal)
  }

  async #send(link: CallLink, call: TuneCall, signal: AbortSignal): Promise<TuneAnswer> {
    for (const bytes of [call.hidden, call.gradient, call.prompts, call.values]) {
      this.sentBytes += bytes?.byteLength ?? 0
    }
    return this.#caller.call(link, call, signal)
  }

  #message({ hop, step, hidden, gradient }: SpanCall, part: AdapterPart | undefined): TuneCall {
    const prompts = step.prompts && this.#slice(step.prompts, hop)
    return {
      ...this.#about(hop),
      kind: gradient === undefined ? 'forward' : 'backward',
      lengths: step.lengths,
      hidden: bytesOfFloats(hidden),
      ...(gradient === undefined ? {} : { gradient: bytesOfFloats(gradient) }),
      ...(prompts === undefined ? {} : { prompts: bytesOfFloats(prompts) }),
      ...(part === undefined ? {} : { adapter: part.id }),
      ...(step.dropout === undefined ? {} : { dropout: step.dropout })
    }
  }

  #about({ start, end }: BlockSpan): Pick<TuneCall, 'model' | 'start' | 'end' | 'deadlineMs'> {
    const { model, deadlineMs = DEADLINE_MS } = this.#options
    return { model, start, end, deadlineMs }
  }

  #part({ hop, step }: SpanCall): AdapterPart | undefined {
    const { adapter } = step
    if (adapter === undefined) return undefined
    const parts = this.#parts.get(adapter) ?? new Map<string, AdapterPart>()
    this.#parts.set(adapter, parts)
    const key = `${hop.start}:${hop.end}`
    const known = parts.get(key)
    if (known !== undefined) return known
    const values = bytesOfFloats(this.#slice(adapter.values, hop))
    const hasher = new Bun.CryptoHasher('blake2b256')
    const id = new Uint8Array(hasher.update(adapterBytes(adapter.shape, values)).digest())
    const part = { id, values, holders: new WeakMap<object, Promise<void>>() }
    parts.set(key, part)
    return part
  }

  /** The values of some blocks. */
  #slice(values: Float32Array, { start, end }: BlockSpan): Float32Array {
    const each = values.length / this.#options.blockCount
    return values.subarray(start * each, end * each)
  }

  [Symbol.dispose](): void {
    this.#stop()
  }
}

function answerOf({ hidden, adapterGradient, promptGradient }: TuneAnswer): SpanAnswer {
  return {
    hidden: floatsOf(hidden),
    adapterGradient: adapterGradient && floatsOf(adapterGradient),
    promptGradient: promptGradient && floatsOf(promptGradient)
  }
}

/** Servers there are, but they say that they take no steps of trainings. */
function noTraining(count: number, retryable: boolean): AppError {
  const servers = count === 1 ? 'one server of the model says' : `${count} servers of the model say`
  return noRoute(`No server takes the training's steps: ${servers} so`, {
    retryable,
    hint: 'Servers on CPUs do, unless they were started with --no-tune; --here computes blocks itself'
  })
}
