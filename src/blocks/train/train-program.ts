// Programs of training over a span's blocks: one runs blocks forwards, one runs a block forwards
// and then backwards. In both, each block can be run on its own. Knows no rows.
import { copy, type Lora } from '../../kernels/gradient-operations.ts'
import { ProgramBuilder, type Program } from '../../kernels/program.ts'
import { graphOf } from '../families/graph-of.ts'
import type { KernelWeights } from '../kernel/kernel-weights.ts'
import { ValuePool } from '../kernel/recorded-block.ts'
import type { SpanPlan } from '../span-plan.ts'
import { Tape, type Node } from './tape.ts'
import { sum, trainParts, type TrainScope } from './train-parts.ts'

export interface TrainProgramOptions {
  /** Most rows of a run. */
  readonly maxRows: number
  /**
   * Backwards, a run takes a block's input as `hidden` and the gradient of its output as `out`; its
   * `result` is the gradient of its input. Forwards, `result` is the output.
   */
  readonly direction: 'forwards' | 'backwards'
  /** Additions to the products of a block's matrix group. */
  readonly loras: (block: number, group: string) => readonly Lora[]
}

/** @throws AppError UNSUPPORTED for blocks with experts, backwards */
export function trainProgram(
  plan: SpanPlan,
  weights: KernelWeights,
  options: TrainProgramOptions
): Program {
  const { config } = plan
  const { maxRows, direction, loras } = options
  const width = config.hiddenSize
  const isBackwards = direction === 'backwards'
  const builder = new ProgramBuilder({
    width,
    outWidth: isBackwards ? width : 0,
    maxRows,
    floatActivations: true
  })
  const family = graphOf(config.family)
  const pool = new ValuePool(builder)
  for (const planned of plan.blocks) {
    builder.block()
    const tape = new Tape(builder, pool)
    const scope: TrainScope = {
      ...weights.scope(config, planned),
      tape,
      loras: (group) => loras(planned.block, group)
    }
    const input: Node = { value: builder.hidden }
    const stream = family.block(trainParts(scope, family.norm), { residual: input })
    const output = sum(scope, stream)
    if (!isBackwards) {
      copy(builder, builder.hidden, output.value)
      tape.end()
      continue
    }
    tape.addTo(output, builder.out)
    tape.back()
    if (input.gradient === undefined) throw new TypeError('A block does not read its input')
    copy(builder, builder.hidden, input.gradient)
    tape.giveBack(input.gradient)
  }
  return builder.build()
}
