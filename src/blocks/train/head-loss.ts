// The model's end in training: losses of rows whose next token is known, and the rows' gradient
// through final norm and output matrix. Knows no examples.
import { log } from '../../base/double-math.ts'
import { computeError } from '../../base/errors.ts'
import {
  copy,
  entropy,
  matmulBack,
  normBack,
  softCapBack
} from '../../kernels/gradient-operations.ts'
import { ProgramBuilder, type Program } from '../../kernels/program.ts'
import type { ModelConfig } from '../../model/types.ts'
import { FINAL_NORM } from '../families/facts.ts'
import { graphOf } from '../families/graph-of.ts'
import type { HeadPlan } from '../head-plan.ts'
import type { KernelContext } from '../kernel/kernel-context.ts'
import type { KernelWeights } from '../kernel/kernel-weights.ts'
import type { HeadLoss } from './train-types.ts'

/** Of the logits of one run and their gradient, bytes. */
const LOGIT_BYTES = 2 ** 26
const MOST_ROWS = 504
const LEAST_ROWS = 24

export interface HeadParts {
  readonly config: ModelConfig
  readonly plan: HeadPlan
  readonly weights: KernelWeights
}

export class HeadLossProgram {
  readonly #context: KernelContext
  readonly #program: Program
  readonly #hiddenSize: number
  readonly #maxRows: number
  readonly #targets: Int32Array
  readonly #facts: Float32Array

  constructor(context: KernelContext, parts: HeadParts) {
    this.#context = context
    this.#hiddenSize = parts.config.hiddenSize
    this.#maxRows = rowsOf(parts.config)
    this.#targets = new Int32Array(new ArrayBuffer(4 * this.#maxRows))
    this.#facts = new Float32Array(new ArrayBuffer(8 + 8 * this.#maxRows))
    this.#program = this.#build(parts)
  }

  /** Each loss has weight `weight` in the gradient. @throws AppError COMPUTE if it is not finite */
  run(hidden: Float32Array, targets: Int32Array, weight: number): HeadLoss {
    const width = this.#hiddenSize
    const losses = new Float64Array(targets.length)
    this.#facts[0] = weight
    for (let from = 0; from < targets.length; from += this.#maxRows) {
      const rows = Math.min(this.#maxRows, targets.length - from)
      this.#targets.set(targets.subarray(from, from + rows))
      const part = hidden.subarray(from * width, (from + rows) * width)
      this.#context.runner.run(this.#program, {
        first: 0,
        end: 1,
        rows,
        hidden: part,
        result: part
      })
      for (let row = 0; row < rows; row++) {
        const [sum, target] = [this.#facts[2 + 2 * row]!, this.#facts[3 + 2 * row]!]
        losses[from + row] = log(sum) - target
      }
    }
    if (!losses.every(Number.isFinite)) throw computeError('A loss is no number')
    return { losses, hidden }
  }

  #build({ config, plan, weights }: HeadParts): Program {
    const { hiddenSize, vocabSize, rmsEps: epsilon, headSoftCap, family } = config
    const { norm: kind } = graphOf(family)
    const builder = new ProgramBuilder({
      width: hiddenSize,
      maxRows: this.#maxRows,
      floatActivations: true
    })
    builder.block()
    const [normed, logits] = [builder.value(hiddenSize), builder.value(vocabSize)]
    const back = builder.value(hiddenSize)
    // The gradient takes the logits' place, unless the cap's slope needs both.
    const gradient = headSoftCap === undefined ? logits : builder.value(vocabSize)
    const weight = weights.address(FINAL_NORM.weight)
    const bias = kind === 'layer' ? weights.address(FINAL_NORM.bias) : undefined
    const matrices = plan.plans.map((one) => weights.matrix(one))
    builder.norm(builder.hidden, normed, { kind, weight, bias, epsilon })
    builder.matmul(normed, logits, matrices)
    if (headSoftCap !== undefined) builder.softCap(logits, headSoftCap)
    entropy(builder, { logits, gradient }, { targets: this.#targets, facts: this.#facts })
    if (headSoftCap !== undefined) softCapBack(builder, { capped: logits, gradient }, headSoftCap)
    matmulBack(builder, { gradient, back: normed }, { matrices, adds: false })
    const norm = { kind, weight, epsilon, adds: false }
    normBack(builder, { x: builder.hidden, gradient: normed, back }, norm)
    copy(builder, builder.hidden, back)
    return builder.build()
  }
}

/** Rows of one run: whole tiles of the products. */
function rowsOf({ vocabSize, headSoftCap }: ModelConfig): number {
  const bytes = 4 * vocabSize * (headSoftCap === undefined ? 1 : 2)
  const rows = Math.min(MOST_ROWS, Math.max(LEAST_ROWS, LOGIT_BYTES / bytes))
  return Math.floor(rows / 12) * 12
}
