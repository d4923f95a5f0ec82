// A span of our own kernels: its packed weights, mapped, and the program that its blocks are
// lowered to. Knows no sessions and no KV memory: paged-span.ts passes pages.
import type { BlockSpan } from '../../base/block-span.ts'
import { ProgramBuilder, type Program } from '../../kernels/program.ts'
import { NotFinite } from '../../kernels/run.ts'
import type { Model } from '../../model/types.ts'
import type { KernelProgram, KernelRows, SpanLoadOptions, StopFlag } from '../engine/loaded-span.ts'
import type { LoadedAdapter, SpanAdapter, Weighted } from '../adapters/adapter-types.ts'
import { AdapterSlotNames, SpanAdapters, type AdapterSet } from '../adapters/span-adapters.ts'
import { graphOf } from '../families/graph-of.ts'
import type { MemoryBudget, Reservation } from '../memory-budget.ts'
import { PAGE_TOKENS, planSpan, type SpanPlan } from '../span-plan.ts'
import type { Quant } from '../types.ts'
import { spanParts } from '../weights/span-parts.ts'
import { WeightStore } from '../weights/weight-store.ts'
import { MAX_ROWS, type KernelContext } from './kernel-context.ts'
import { enterBlock, joinStream, kernelParts, type KernelScope } from './kernel-parts.ts'
import { KernelWeights } from './kernel-weights.ts'
import { RecordedBlock, ValuePool } from './recorded-block.ts'
import { KernelTraining } from '../train/kernel-training.ts'
import { TrainSpan } from '../train/train-span.ts'
import type { TrainResult, TrainStep } from '../train/train-types.ts'

export class KernelSpan implements KernelProgram {
  readonly plan: SpanPlan
  readonly range: BlockSpan
  readonly pageTokens: number = PAGE_TOKENS
  readonly #context: KernelContext
  readonly #program: Program
  readonly #store: WeightStore
  readonly #reserved: Reservation
  /** The program has addresses into these. */
  readonly #weights: KernelWeights
  readonly #train: TrainSpan
  readonly #adapters: SpanAdapters

  private constructor(parts: {
    context: KernelContext
    plan: SpanPlan
    range: BlockSpan
    store: WeightStore
    reserved: Reservation
    budget: MemoryBudget
  }) {
    const { context, budget, plan, range } = parts
    this.plan = parts.plan
    this.range = parts.range
    this.#context = parts.context
    this.#store = parts.store
    this.#reserved = parts.reserved
    this.#weights = new KernelWeights(parts.store)
    const floatActivations = parts.context.floatActivations || hasFloatActivations(parts.plan.quant)
    const names = new AdapterSlotNames()
    this.#program = spanProgram(parts.plan, this.#weights, { floatActivations, names })
    parts.context.runner.prepare(this.#program)
    const { slots } = this.#program
    this.#adapters = new SpanAdapters({ plan, range, slots, names, budget })
    const facts = { budget, plan, range }
    const backend = new KernelTraining({ ...facts, context, weights: this.#weights })
    this.#train = new TrainSpan({ ...facts, backend })
  }

  /** Maps weights that were kept, or packs and keeps them. */
  static async load(
    context: KernelContext,
    budget: MemoryBudget,
    model: Model,
    options: SpanLoadOptions
  ): Promise<KernelSpan> {
    const { start, end, checkpoint } = options
    const plan = planSpan(model.config, model.tensors, { ...options, lowering: 'kernels' })
    const reserved = budget.reserve(
      plan.weightBytes,
      `Weights of blocks ${start} to ${end}`,
      'Serve fewer blocks, or choose --quant int4'
    )
    const store = new WeightStore(context.storeOptions, { location: model.location })
    try {
      for (const part of spanParts(model, plan, { start, end }, context.kernels)) {
        for (const _ of store.load(part)) await checkpoint()
        await checkpoint()
      }
      return new KernelSpan({ context, plan, range: { start, end }, store, reserved, budget })
    } catch (error) {
      store[Symbol.dispose]()
      reserved[Symbol.dispose]()
      throw error
    }
  }

  pageBytes({ start, end }: BlockSpan): number {
    const { blockOffsets } = this.#program
    const first = this.range.start
    return (blockOffsets[end - first] ?? 0) - (blockOffsets[start - first] ?? 0)
  }

  copyPage({ start, end }: BlockSpan, from: bigint, to: bigint, tokens: number): void {
    const first = this.range.start
    const copy = { first: start - first, end: end - first, from, to, positions: tokens }
    this.#context.kernels.copyPage(this.#program.address, copy)
  }

  /** The caller checks rows for values that are not finite. @throws AppError CANCELLED */
  run({ start, end }: BlockSpan, rows: KernelRows, stop: StopFlag): void {
    const first = this.range.start
    const { hidden, result, segments } = rows
    try {
      this.#context.runner.run(this.#program, {
        first: start - first,
        end: end - first,
        rows: hidden.length / this.#program.width,
        hidden,
        result,
        segments: segments.map(({ pages, start: position, rows: count, additions }) => ({
          pages,
          kvBlock: start - first,
          position,
          rows: count,
          additions
        })),
        abort: stop.word
      })
    } catch (error) {
      // Bad rows of one session must not fail those of the others.
      if (!(error instanceof NotFinite)) throw error
    }
  }

  loadAdapter(adapter: SpanAdapter): LoadedAdapter {
    return this.#adapters.load(adapter)
  }

  openAdapters(adapters: readonly Weighted<LoadedAdapter>[]): AdapterSet {
    return this.#adapters.open(adapters)
  }

  train(step: TrainStep, stop: StopFlag): TrainResult | undefined {
    return this.#train.run(step, stop)
  }

  [Symbol.dispose](): void {
    this.#train[Symbol.dispose]()
    this.#store[Symbol.dispose]()
    this.#reserved[Symbol.dispose]()
  }
}

/** The program of all blocks of a plan. */
function spanProgram(
  plan: SpanPlan,
  weights: KernelWeights,
  { floatActivations, names }: { floatActivations: boolean; names: AdapterSlotNames }
): Program {
  const { config, kv } = plan
  const family = graphOf(config.family)
  const builder = new ProgramBuilder({
    width: config.hiddenSize,
    maxRows: MAX_ROWS,
    kv,
    pagePositions: PAGE_TOKENS,
    floatActivations
  })
  const pool = new ValuePool((width) => builder.value(width))
  for (const { block, groups } of plan.blocks) {
    const recorded = new RecordedBlock(config.hiddenSize)
    const own = weights.scope(config, { block, groups })
    const scope: KernelScope = { ...own, recorded, slots: names }
    const stream = family.block(kernelParts(scope, family.norm), enterBlock(scope))
    joinStream(scope, stream)
    recorded.write(builder, pool)
  }
  return builder.build()
}

/**
 * Whether activations stay floats; otherwise they are rounded to int8 where weights are integers.
 */
function hasFloatActivations(quant: Quant): boolean {
  return quant === 'f32' || quant === 'f16'
}
