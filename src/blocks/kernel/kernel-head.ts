// The end of a model by our own kernels: final norm, output matrix and soft cap turn hidden states
// into logits. Knows no sampling.
import { ProgramBuilder, type Program } from '../../kernels/program.ts'
import { badInput } from '../../base/errors.ts'
import type { Model, ModelConfig } from '../../model/types.ts'
import type { HeadLoss } from '../train/train-types.ts'
import { HeadLossProgram, type HeadParts } from '../train/head-loss.ts'
import { HeadRowsProgram } from '../train/head-rows.ts'
import type { LoadedHead, StopFlag } from '../engine/loaded-span.ts'
import { FINAL_NORM } from '../families/facts.ts'
import { graphOf } from '../families/graph-of.ts'
import { planHead, type HeadPlan } from '../head-plan.ts'
import type { MemoryBudget, Reservation } from '../memory-budget.ts'
import { headPart } from '../weights/span-parts.ts'
import { WeightStore } from '../weights/weight-store.ts'
import type { KernelContext } from './kernel-context.ts'
import { KernelWeights } from './kernel-weights.ts'

/** Most rows of one run: logits are wide, and mostly only a prompt's last row is asked for. */
const HEAD_ROWS = 32

export class KernelHead implements LoadedHead {
  readonly hiddenSize: number
  readonly vocabSize: number
  readonly weightBytes: number
  readonly #context: KernelContext
  readonly #program: Program
  readonly #store: WeightStore
  readonly #reserved: Reservation
  readonly #parts: HeadParts
  #loss: HeadLossProgram | undefined
  #rows: HeadRowsProgram | undefined

  private constructor(parts: {
    context: KernelContext
    config: ModelConfig
    plan: HeadPlan
    isFloat: boolean
    store: WeightStore
    reserved: Reservation
  }) {
    const { context, config, plan, isFloat, store, reserved } = parts
    this.hiddenSize = config.hiddenSize
    this.vocabSize = config.vocabSize
    this.weightBytes = plan.weightBytes
    this.#context = context
    this.#store = store
    this.#reserved = reserved
    const weights = new KernelWeights(store)
    this.#parts = { config, plan, weights }
    this.#program = headProgram(config, plan, { isFloat, weights })
    context.runner.prepare(this.#program)
  }

  /** @throws AppError NO_MEMORY, CORRUPT */
  static load(
    context: KernelContext,
    budget: MemoryBudget,
    model: Model,
    quant: 'native' | 'f32'
  ): KernelHead {
    const { config, tensors } = model
    const plan = planHead(config, tensors, quant, 'kernels')
    const reserved = budget.reserve(plan.weightBytes, "The head's weights")
    const store = new WeightStore(context.storeOptions, { location: model.location })
    try {
      for (const _ of store.load(headPart(model, plan.vectors, plan.plans, context.kernels)));
      const isFloat = quant === 'f32'
      return new KernelHead({ context, config, plan, isFloat, store, reserved })
    } catch (error) {
      store[Symbol.dispose]()
      reserved[Symbol.dispose]()
      throw error
    }
  }

  /**
   * Rows of `hidden` (count, hiddenSize) to `logits` (count, vocabSize).
   * @throws AppError COMPUTE, CANCELLED
   */
  run(hidden: Float32Array, logits: Float32Array, stop: StopFlag): void {
    const { hiddenSize, vocabSize } = this
    const count = hidden.length / hiddenSize
    if (!Number.isInteger(count) || count === 0) {
      throw badInput(`The head cannot run: ${hidden.length} values are no rows of ${hiddenSize}`)
    }
    for (let from = 0; from < count; from += HEAD_ROWS) {
      const to = Math.min(count, from + HEAD_ROWS)
      const rows = hidden.subarray(from * hiddenSize, to * hiddenSize)
      this.#context.runner.run(this.#program, {
        first: 0,
        end: 1,
        rows: to - from,
        hidden: rows,
        // No operation changes the rows.
        result: rows,
        out: logits.subarray(from * vocabSize, to * vocabSize),
        abort: stop.word
      })
    }
  }

  loss(hidden: Float32Array, targets: Int32Array, weight: number): HeadLoss {
    this.#loss ??= new HeadLossProgram(this.#context, this.#parts)
    return this.#loss.run(hidden, targets, weight)
  }

  rows(hidden: Float32Array, gradient?: Float32Array): Float32Array {
    this.#rows ??= new HeadRowsProgram(this.#context, this.#parts)
    return this.#rows.run(hidden, gradient)
  }

  [Symbol.dispose](): void {
    this.#store[Symbol.dispose]()
    this.#reserved[Symbol.dispose]()
  }
}

function headProgram(
  config: ModelConfig,
  { plans }: HeadPlan,
  { isFloat, weights }: { isFloat: boolean; weights: KernelWeights }
): Program {
  const { hiddenSize, vocabSize, rmsEps, headSoftCap, family } = config
  const builder = new ProgramBuilder({
    width: hiddenSize,
    outWidth: vocabSize,
    maxRows: HEAD_ROWS,
    floatActivations: isFloat
  })
  builder.block()
  const normed = builder.value(hiddenSize)
  const { norm: kind } = graphOf(family)
  builder.norm(builder.hidden, normed, {
    kind,
    weight: weights.address(FINAL_NORM.weight),
    bias: kind === 'layer' ? weights.address(FINAL_NORM.bias) : undefined,
    epsilon: rmsEps
  })
  const matrices = plans.map((plan) => weights.matrix(plan))
  builder.matmul(normed, builder.out, matrices)
  if (headSoftCap !== undefined) builder.softCap(builder.out, headSoftCap)
  return builder.build()
}
