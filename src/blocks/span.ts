// A span's weights in the engine and the graphs over them: one for the whole span, further ones for
// parts of it on first use. Knows no worker; engine.ts owns spans and sessions.
import type { BlockSpan } from '../base/block-span.ts'
import type { Model } from '../model/types.ts'
import type { Backend } from './backend.ts'
import type { Batch } from './engine/batch.ts'
import type { MemoryBudget, Reservation } from './memory-budget.ts'
import { spanParts } from './weights/span-parts.ts'
import { planSpan, type SpanPlan } from './span-plan.ts'
import { SpanGraphs, type LoadedGraph } from './span-graphs.ts'
import type { Quant, SpanInfo } from './types.ts'
import { WeightStore } from './weights/weight-store.ts'

export interface LoadOptions extends BlockSpan {
  quant: Quant
  /** Called between matrices: lets other work in, and throws when loading was cancelled. */
  checkpoint: () => Promise<void>
}

export class Span implements Disposable {
  readonly plan: SpanPlan
  readonly range: BlockSpan
  readonly #store: WeightStore
  readonly #reserved: Reservation
  readonly #graphs: SpanGraphs

  private constructor(parts: {
    plan: SpanPlan
    range: BlockSpan
    store: WeightStore
    reserved: Reservation
    graphs: SpanGraphs
  }) {
    this.plan = parts.plan
    this.range = parts.range
    this.#store = parts.store
    this.#reserved = parts.reserved
    this.#graphs = parts.graphs
  }

  /** Reads, packs and makes the graph of the whole span. @throws AppError NO_MEMORY, CORRUPT, CANCELLED */
  static async load(
    backend: Backend,
    budget: MemoryBudget,
    model: Model,
    options: LoadOptions
  ): Promise<Span> {
    const { start, end, quant, checkpoint } = options
    const { roundedBlock } = backend
    const lowering = 'onnx'
    const facts = { start, end, quant, lowering, roundedBlock } as const
    const plan = planSpan(model.config, model.tensors, facts)
    const reserved = budget.reserve(
      plan.weightBytes,
      `Weights of blocks ${start} to ${end}`,
      'Serve fewer blocks, or choose --quant int4'
    )
    const store = new WeightStore(backend.storeOptions, {
      location: model.location,
      reserve: (size) => budget.reserve(size, 'Weights that found no room on the disk')
    })
    const accuracy = accuracyOf(quant, backend)
    const graphs = new SpanGraphs({ backend, budget, plan, store, accuracy })
    const span = new Span({ plan, range: { start, end }, store, reserved, graphs })
    try {
      for (const part of spanParts(model, plan, { start, end })) {
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

  /** The graph of blocks [start, end), made on first use over the same weights; release() it. */
  graph(range: BlockSpan): LoadedGraph {
    return this.#graphs.take(range)
  }

  /** Nobody takes the graph any more that graph() gave. */
  release(graph: LoadedGraph): void {
    this.#graphs.giveBack(graph)
  }

  /** A graph over the same blocks for several sessions at once; undefined where there is none. */
  batch(range: BlockSpan, sessions: number): Batch | undefined {
    return this.#graphs.batch(range, sessions)
  }

  info(span: number): SpanInfo {
    const { plan, range } = this
    return {
      span,
      start: range.start,
      end: range.end,
      hiddenSize: plan.config.hiddenSize,
      weightBytes: plan.weightBytes,
      kvBytesPerToken: plan.kvBytesPerToken,
      maxTokens: plan.config.contextLength,
      notes: plan.notes
    }
  }

  [Symbol.dispose](): void {
    this.#graphs[Symbol.dispose]()
    this.#store[Symbol.dispose]()
    this.#reserved[Symbol.dispose]()
  }
}

/** Float weights are multiplied with float activations, integers with int8 ones. */
function accuracyOf(quant: Quant, backend: Backend): number {
  return quant === 'f32' || quant === 'f16' ? 0 : (backend.integerAccuracy ?? 4)
}
