// A span's weights in the engine and the graphs over them: one for the whole span, further ones for
// parts of it on first use. Knows no worker; engine.ts owns spans and sessions.
import type { Model } from '../model/types.ts'
import type { Backend, CacheMemory } from './backend.ts'
import { spanGraph } from './graph/span-graph.ts'
import type { MemoryBudget, Reservation } from './memory-budget.ts'
import { OrtPrepacked, OrtSession } from './ort/session.ts'
import type { OrtTensor } from './ort/value.ts'
import { spanParts } from './span-parts.ts'
import { planSpan, type SpanPlan } from './span-plan.ts'
import type { Quant, SpanInfo } from './types.ts'
import { WeightStore } from './weight-store.ts'

export interface BlockRange {
  readonly first: number
  readonly last: number
}

/** A session of the engine and where its caches live. */
export interface LoadedGraph {
  readonly session: OrtSession
  readonly memory: CacheMemory
}

export interface LoadOptions extends BlockRange {
  quant: Quant
  /** Called between matrices: lets other work in, and throws when loading was cancelled. */
  checkpoint: () => Promise<void>
}

export class Span implements Disposable {
  readonly plan: SpanPlan
  readonly range: BlockRange
  readonly #backend: Backend
  readonly #store: WeightStore
  readonly #prepacked: OrtPrepacked
  readonly #reserved: Reservation
  readonly #graphs = new Map<string, LoadedGraph>()

  private constructor(
    backend: Backend,
    parts: { plan: SpanPlan; range: BlockRange; store: WeightStore; reserved: Reservation }
  ) {
    this.#backend = backend
    this.plan = parts.plan
    this.range = parts.range
    this.#store = parts.store
    this.#reserved = parts.reserved
    this.#prepacked = new OrtPrepacked(backend.runtime)
  }

  /** Reads, packs and makes the graph of the whole span. @throws AppError NO_MEMORY, CORRUPT, CANCELLED */
  static async load(
    backend: Backend,
    budget: MemoryBudget,
    model: Model,
    options: LoadOptions
  ): Promise<Span> {
    const { first, last, quant, checkpoint } = options
    const plan = planSpan(model.config, model.tensors, { first, last, quant })
    const reserved = budget.reserve(
      plan.weightBytes,
      `Weights of blocks ${first} to ${last}`,
      'Serve fewer blocks, or choose --quant int4'
    )
    const store = new WeightStore(backend.runtime, backend.storeOptions, {
      location: model.location,
      reserve: (size) => budget.reserve(size, 'Weights that found no room on the disk')
    })
    const span = new Span(backend, { plan, range: { first, last }, store, reserved })
    try {
      for (const part of spanParts(model, plan, { first, last })) {
        for (const _ of store.load(part)) await checkpoint()
        await checkpoint()
      }
      span.graph(span.range)
      return span
    } catch (error) {
      span[Symbol.dispose]()
      throw error
    }
  }

  /** The graph of blocks [first, last), made on first use over the same weights. */
  graph(range: BlockRange): LoadedGraph {
    const key = `${range.first}:${range.last}`
    const known = this.#graphs.get(key)
    if (known !== undefined) return known
    const { model, weightNames } = spanGraph(this.plan, range, this.#accuracy)
    const weights = new Map<string, OrtTensor>()
    for (const name of weightNames) {
      const tensor = this.#store.tensors.get(name)
      if (tensor === undefined) throw new TypeError(`Weight '${name}' was not filled`)
      weights.set(name, tensor)
    }
    const session = new OrtSession(
      this.#backend.runtime,
      { model, weights, prepacked: this.#prepacked },
      this.#backend.settings
    )
    this.#store.trim()
    const graph = { session, memory: this.#backend.cacheMemory(session) }
    this.#graphs.set(key, graph)
    return graph
  }

  info(span: number): SpanInfo {
    const { plan, range } = this
    return {
      span,
      first: range.first,
      last: range.last,
      hiddenSize: plan.config.hiddenSize,
      weightBytes: plan.weightBytes,
      kvBytesPerToken: plan.kvBytesPerToken,
      maxTokens: plan.config.contextLength,
      notes: plan.notes
    }
  }

  /** Float weights are multiplied with float activations, integers with int8 ones. */
  get #accuracy(): number {
    const { quant } = this.plan
    return quant === 'f32' || quant === 'f16' ? 0 : (this.#backend.integerAccuracy ?? 4)
  }

  [Symbol.dispose](): void {
    for (const { session, memory } of this.#graphs.values()) {
      memory[Symbol.dispose]()
      session[Symbol.dispose]()
    }
    this.#graphs.clear()
    this.#prepacked[Symbol.dispose]()
    this.#store[Symbol.dispose]()
    this.#reserved[Symbol.dispose]()
  }
}
