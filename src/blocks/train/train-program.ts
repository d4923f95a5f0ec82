// Programs of training over a span's blocks: one runs blocks forwards, one runs a block forwards
// and then backwards. In both, each block can be run on its own. Knows no rows.
import { copy, dropoutRecord, type Dropout } from '../../kernels/gradient-operations.ts'
import { ProgramBuilder, type Program } from '../../kernels/program.ts'
import { graphOf } from '../families/graph-of.ts'
import type { KernelWeights } from '../kernel/kernel-weights.ts'
import { ValuePool } from '../kernel/recorded-block.ts'
import type { SpanPlan } from '../span-plan.ts'
import type { SaltedLora } from './adapter-slots.ts'
import { Tape, type Node } from './tape.ts'
import { sum, trainParts, type TrainScope } from './train-parts.ts'

export type Direction = 'forwards' | 'backwards'

export interface TrainProgramOptions {
  /** Most rows of a run. */
  readonly maxRows: number
  /**
   * Backwards, a run takes a block's input as `hidden` and the gradient of its output as `out`; its
   * `result` is the gradient of its input. Forwards, `result` is the output.
   */
  readonly direction: Direction
  /**
   * Whether rows are kept forwards that the way back reads. Backwards with the same choice finds
   * them there, and otherwise computes a block's rows anew.
   */
  readonly keeps: boolean
  /** Additions to the products of a block's matrix group. */
  readonly loras: (block: number, group: string) => readonly SaltedLora[]
  /** Of what these read. Default: none. */
  readonly dropout?: Dropout | undefined
}

export function trainProgram(
  plan: SpanPlan,
  weights: KernelWeights,
  options: TrainProgramOptions
): Program {
  const { config } = plan
  const { maxRows, direction, keeps, loras } = options
  const width = config.hiddenSize
  const isBackwards = direction === 'backwards'
  const builder = new ProgramBuilder({
    width,
    outWidth: isBackwards ? width : 0,
    maxRows,
    floatActivations: true
  })
  const family = graphOf(config.family)
  const dropout = options.dropout && dropoutRecord(builder, options.dropout)
  const pools = {
    rows: new ValuePool((width) => builder.value(width)),
    kept: keeps ? new ValuePool((width) => builder.kept(width)) : undefined
  }
  for (const planned of plan.blocks) {
    builder.block()
    const tape = new Tape(builder, pools)
    const scope: TrainScope = {
      ...weights.scope(config, planned),
      tape,
      loras: (group) => loras(planned.block, group),
      dropout
    }
    const input: Node = { width, value: builder.hidden }
    const stream = family.block(trainParts(scope, family.norm), { residual: input })
    const output = sum(scope, stream)
    if (!isBackwards) {
      tape.forwards(output, (value) => copy(builder, builder.hidden, value))
      continue
    }
    tape.addTo(output, builder.out)
    tape.backwards()
    if (input.gradient === undefined) throw new TypeError('A block does not read its input')
    copy(builder, builder.hidden, input.gradient)
    tape.giveBack(input.gradient)
  }
  return builder.build()
}
