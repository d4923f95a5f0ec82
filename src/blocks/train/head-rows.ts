// The model's end for losses of a program's own: logits of rows with float activations, and the
// rows' gradient from that of their logits. Knows no losses; head-loss.ts has the usual one.
import { badInput } from '../../base/errors.ts'
import { copy, matmulBack, normBack, softCapBack } from '../../kernels/gradient-operations.ts'
import { ProgramBuilder, type Program } from '../../kernels/program.ts'
import { FINAL_NORM } from '../families/facts.ts'
import { graphOf } from '../families/graph-of.ts'
import type { KernelContext } from '../kernel/kernel-context.ts'
import type { HeadParts } from './head-loss.ts'

/** Rows of one run; few, because logits and their gradients are wide. */
const ROWS = 64

export class HeadRowsProgram {
  readonly #context: KernelContext
  readonly #widths: { readonly hidden: number; readonly logits: number }
  readonly #forwards: Program
  readonly #backwards: Program

  constructor(context: KernelContext, parts: HeadParts) {
    this.#context = context
    this.#widths = { hidden: parts.config.hiddenSize, logits: parts.config.vocabSize }
    this.#forwards = headProgram(parts, 'forwards')
    this.#backwards = headProgram(parts, 'backwards')
  }

  /**
   * Logits (rows, vocabSize) of rows (rows, hiddenSize); with a gradient of logits, which it may
   * change, the gradient of the rows instead.
   * @throws AppError BAD_INPUT, COMPUTE if values are not finite
   */
  run(hidden: Float32Array, gradient?: Float32Array): Float32Array {
    const { hidden: width, logits } = this.#widths
    const count = hidden.length / width
    const isOther = gradient !== undefined && gradient.length !== count * logits
    if (!Number.isInteger(count) || count === 0 || isOther) {
      throw badInput('A gradient of logits has another shape than its rows')
    }
    const result = gradient === undefined ? hidden : new Float32Array(hidden.length)
    const out = gradient ?? new Float32Array(count * logits)
    for (let from = 0; from < count; from += ROWS) {
      const end = Math.min(count, from + ROWS)
      this.#context.runner.run(gradient === undefined ? this.#forwards : this.#backwards, {
        first: 0,
        end: 1,
        rows: end - from,
        hidden: hidden.subarray(from * width, end * width),
        result: result.subarray(from * width, end * width),
        out: out.subarray(from * logits, end * logits)
      })
    }
    return gradient === undefined ? out : result
  }
}

/**
 * Forwards `out` is the logits; backwards it is their gradient, and the result that of the rows.
 */
function headProgram(
  { config, plan, weights }: HeadParts,
  direction: 'forwards' | 'backwards'
): Program {
  const { hiddenSize: width, vocabSize: outWidth, rmsEps: epsilon, headSoftCap, family } = config
  const builder = new ProgramBuilder({ width, outWidth, maxRows: ROWS, floatActivations: true })
  builder.block()
  const { norm: kind } = graphOf(family)
  const weight = weights.address(FINAL_NORM.weight)
  const bias = kind === 'layer' ? weights.address(FINAL_NORM.bias) : undefined
  const matrices = plan.plans.map((one) => weights.matrix(one))
  const normed = builder.value(width)
  const isBackwards = direction === 'backwards'
  if (!isBackwards || headSoftCap !== undefined) {
    const logits = isBackwards ? builder.value(outWidth) : builder.out
    builder.norm(builder.hidden, normed, { kind, weight, bias, epsilon })
    builder.matmul(normed, logits, matrices)
    if (headSoftCap !== undefined) builder.softCap(logits, headSoftCap)
    if (isBackwards && headSoftCap !== undefined) {
      softCapBack(builder, { capped: logits, gradient: builder.out }, headSoftCap)
    }
  }
  if (!isBackwards) return builder.build()
  const back = builder.value(width)
  matmulBack(builder, { gradient: builder.out, back: normed }, { matrices, adds: false })
  const norm = { kind, weight, epsilon, adds: false }
  normBack(builder, { x: builder.hidden, gradient: normed, back }, norm)
  copy(builder, builder.hidden, back)
  return builder.build()
}
