// A span as ONNX graphs over its weights: one for the whole span, others for parts of it, built on
// first use. Sessions run one after another. Knows no worker; engine.ts owns spans and sessions.
import type { BlockSpan } from '../../base/block-span.ts'
import { cancelled, toAppError, type AppError } from '../../base/errors.ts'
import type { Model } from '../../model/types.ts'
import type { LoadedSpan, RunPart, SpanLoadOptions, StopFlag } from '../engine/loaded-span.ts'
import type { MemoryBudget, Reservation } from '../memory-budget.ts'
import { planSpan, type SpanPlan } from '../span-plan.ts'
import { TrainSpan } from '../train/train-span.ts'
import type { Quant } from '../types.ts'
import { spanParts } from '../weights/span-parts.ts'
import { WeightStore } from '../weights/weight-store.ts'
import type { Backend } from './backend.ts'
import { FIRST_STEP } from './kv-cache.ts'
import { OnnxSession } from './onnx-session.ts'
import { OnnxTraining } from './onnx-training.ts'
import { SpanGraphs, type LoadedGraph } from './span-graphs.ts'

interface SpanState {
  readonly backend: Backend
  readonly budget: MemoryBudget
  readonly plan: SpanPlan
  readonly range: BlockSpan
  readonly store: WeightStore
  readonly reserved: Reservation
  readonly graphs: SpanGraphs
  readonly training: OnnxTraining
}

export class OnnxSpan implements LoadedSpan {
  readonly plan: SpanPlan
  readonly range: BlockSpan
  readonly pageTokens: number = FIRST_STEP
  readonly #state: SpanState
  readonly #sessions = new Set<OnnxSession>()
  /** Absent where the device lacks operators of the way back. */
  readonly train?: NonNullable<LoadedSpan['train']>
  #trainSpan: TrainSpan | undefined

  private constructor(state: SpanState) {
    this.plan = state.plan
    this.range = state.range
    this.#state = state
    const { plan, range, budget, training } = state
    if (!training.canTrain()) return
    const steps = new TrainSpan({ plan, range, budget, backend: training })
    this.#trainSpan = steps
    this.train = (step, stop) => steps.run(step, stop)
  }

  /**
   * Reads and packs the weights and builds the graph of the whole span.
   * @throws AppError NO_MEMORY, CORRUPT, CANCELLED
   */
  static async load(
    backend: Backend,
    budget: MemoryBudget,
    model: Model,
    options: SpanLoadOptions
  ): Promise<OnnxSpan> {
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
    const range = { start, end }
    const training = new OnnxTraining({ backend, budget, plan, range, store })
    const state = { backend, budget, plan, range, store, reserved, graphs, training }
    try {
      for (const part of spanParts(model, plan, { start, end })) {
        for (const _ of store.load(part)) await checkpoint()
        await checkpoint()
      }
      const span = new OnnxSpan(state)
      // Built now, so that the first session does not wait for it.
      span.graph(span.range)
      return span
    } catch (error) {
      disposeState(state)
      throw error
    }
  }

  get kvBytes(): number {
    return [...this.#sessions].reduce((sum, { cache }) => sum + cache.sizeBytes, 0)
  }

  openSession(range: BlockSpan): OnnxSession {
    return new OnnxSession(this.#state.backend, this.#state.budget, this, range)
  }

  run(parts: readonly RunPart<OnnxSession>[], stop: StopFlag): (AppError | undefined)[] {
    return parts.map(({ session, hidden, result }) => {
      if (Atomics.load(stop.word, 0) !== 0) return cancelled('The run was stopped')
      try {
        session.run(hidden, result)
        return undefined
      } catch (error) {
        return toAppError(error)
      }
    })
  }

  /**
   * The graph of blocks [start, end) for a session, built on first use over the same weights.
   * release() it.
   */
  graph(range: BlockSpan): LoadedGraph {
    return this.#state.graphs.take(range)
  }

  /** The caller no longer uses a graph that it got from graph(). */
  release(graph: LoadedGraph): void {
    this.#state.graphs.giveBack(graph)
  }

  /** Adds a session to, or removes it from, those whose memory is counted. */
  count(session: OnnxSession, isOpen: boolean): void {
    if (isOpen) this.#sessions.add(session)
    else this.#sessions.delete(session)
  }

  [Symbol.dispose](): void {
    this.#trainSpan?.[Symbol.dispose]()
    disposeState(this.#state)
  }
}

function disposeState({ training, graphs, store, reserved }: SpanState): void {
  training[Symbol.dispose]()
  graphs[Symbol.dispose]()
  store[Symbol.dispose]()
  reserved[Symbol.dispose]()
}

/** Float weights need float activations; integer weights get int8 ones. */
function accuracyOf(quant: Quant, backend: Backend): number {
  return quant === 'f32' || quant === 'f16' ? 0 : (backend.integerAccuracy ?? 4)
}
